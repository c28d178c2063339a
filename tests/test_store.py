import hashlib
import os
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from garments.store import Answer, Busy, Database, Photo, Stamp, Store, StoreError, database
from garments.store.archived import Archived
from garments.store.indexes import metadata
from garments.store.lock import locked
from garments.store.tables import SCHEMA
from tests.conftest import PROJECT

HERE = b"/photos"
STAMP = Stamp(10, 20, 30)
MODEL = "m@1"


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    store = Store(database_url)
    store.open()
    yield store
    store.close()


def digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def photo(name: bytes, content: str = "x") -> Photo:
    return Photo(name, STAMP, digest(content))


def answer(content: str = "x", **changes: object) -> Answer:
    top = [["Dress", 0.9], ["Coat", 0.1]]
    return replace(Answer(digest(content), MODEL, "accept", 3, "Dress", 0.9, top), **changes)


def test_several_may_open_a_new_database_at_the_same_moment(database_url: str) -> None:
    together = threading.Barrier(6)

    def opened(_: int) -> None:
        with closing(Store(database_url)) as store:
            together.wait()
            store.open()

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(opened, range(6))) == [None] * 6


def test_a_database_that_another_program_keeps_is_told_in_the_time_given(tmp_path: Path) -> None:
    file = tmp_path / "p.db"
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("CREATE TABLE t(a)")  # with a journal of the old kind
        other.execute("BEGIN")
        other.execute("SELECT * FROM t").fetchall()
        began = time.monotonic()
        with (
            closing(Database(f"sqlite:///{file}", seconds=0.1)) as base,
            pytest.raises(StoreError, match="p.db is in use by another program"),
        ):
            base.migrate()
        assert time.monotonic() - began < 1


def test_what_was_recorded_is_known(store: Store) -> None:
    run = store.runs.begin(HERE)
    store.record(run, HERE, [photo(b"b.png"), photo(b"a\xff.png", "y")], [answer()])
    assert list(store.known(HERE, MODEL)) == [
        (b"a\xff.png", STAMP, None),
        (b"b.png", STAMP, run),
    ]
    (_, outcome) = store.outcomes(HERE, MODEL)
    assert outcome[:9] == (b"b.png", run, None, None, "accept", 3, "Dress", 0.9, MODEL)
    assert outcome[9:] == (digest("x"), False, None, None, False, None, None, None)


def test_an_answer_is_for_a_content_whatever_its_name(store: Store) -> None:
    run = store.runs.begin(HERE)
    store.record(run, HERE, [photo(b"a.png"), photo(b"b.png")], [answer()])
    assert [outcome.decision for outcome in store.outcomes(HERE, MODEL)] == ["accept", "accept"]
    assert store.answered([digest("x"), digest("y")], MODEL) == {digest("x")}
    assert store.answered([digest("y")], MODEL) == set()


def test_an_answer_is_of_one_version_of_a_model(store: Store) -> None:
    run = store.runs.begin(HERE)
    store.record(run, HERE, [photo(b"a.png")], [answer()])
    assert [known.answered_in for known in store.known(HERE, "m@2")] == [None]


def test_the_last_answer_is_of_the_model_that_read_a_content_last(store: Store) -> None:
    first, second, third = (store.runs.begin(HERE) for _ in range(3))
    store.record(first, HERE, [photo(b"a.png"), photo(b"b.png", "y")], [answer(), answer("y")])
    store.record(second, HERE, [], [answer(model="m@2", label="Coat")])
    store.record(third, HERE, [], [answer(model="m@3", decision="unreadable", prediction=None)])
    said = [(found.name, found.label, found.model) for found in store.last_outcomes(HERE)]
    assert said == [(b"a.png", "Coat", "m@2"), (b"b.png", "Dress", MODEL)]


def test_the_last_answer_is_of_the_model_that_archived_last(
    store: Store, database_url: str
) -> None:
    first, second = store.runs.begin(HERE, MODEL), store.runs.begin(HERE, "m@2")
    store.record(first, HERE, [photo(b"a.png")], [answer()])
    store.record(second, HERE, [], [answer(model="m@2", label="Coat")])
    third = store.runs.begin(HERE, "m@3")  # whose service changes its model back
    with closing(Database(database_url)) as database:
        Archived(database, b"/archive").begin(third, MODEL)
    store.runs.begin(HERE, "m@2")
    assert [found.label for found in store.last_outcomes(HERE)] == ["Dress"]


def test_directories_are_kept_apart(store: Store) -> None:
    run = store.runs.begin(HERE)
    store.record(run, HERE, [photo(b"a.png")], [answer()])
    assert list(store.known(b"/elsewhere", MODEL)) == []


def test_what_is_forgotten_in_one_directory_is_known_in_another(store: Store) -> None:
    for directory in (HERE, b"/elsewhere"):
        store.record(store.runs.begin(directory), directory, [photo(b"a.png")], [answer()])
    store.forget(HERE, [b"a.png"])
    assert list(store.known(HERE, MODEL)) == []
    assert [known.name for known in store.known(b"/elsewhere", MODEL)] == [b"a.png"]


def test_a_preview_is_of_that_directory_and_that_model(store: Store) -> None:
    run = store.runs.begin(HERE)
    said = [answer(thumbnail=b"1"), answer(model="m@2", thumbnail=b"2")]
    store.record(run, HERE, [photo(b"a.png")], said)
    store.record(run, b"/elsewhere", [photo(b"a.png", "y")], [answer("y", thumbnail=b"3")])
    asked = [(HERE, MODEL), (HERE, "m@2"), (b"/elsewhere", MODEL)]
    previews = [store.previews(directory, [b"a.png"], model) for directory, model in asked]
    assert [found[b"a.png"][1] for found in previews] == [b"1", b"2", b"3"]


def test_a_later_answer_replaces_the_earlier_one(store: Store) -> None:
    store.record(store.runs.begin(HERE), HERE, [photo(b"a.png")], [answer()])
    second = store.runs.begin(HERE)
    later = answer(decision="review", confidence=0.4, thumbnail=b"small")
    store.record(second, HERE, [photo(b"a.png")], [later])
    (outcome,) = store.outcomes(HERE, MODEL)
    assert (outcome.decision, outcome.confidence) == ("review", 0.4)
    assert store.previews(HERE, [b"a.png"], MODEL) == {b"a.png": (later.top, b"small")}


def test_a_thumbnail_that_is_drawn_later_is_of_one_model_s_answer(store: Store) -> None:
    run = store.runs.begin(HERE)
    said = [answer(), answer(model="m@2"), answer("y")]
    store.record(run, HERE, [photo(b"a.png"), photo(b"b.png", "y")], said)
    store.draw(MODEL, {digest("x"): b"small"})
    drawn = [outcome.drawn for model in (MODEL, "m@2") for outcome in store.outcomes(HERE, model)]
    assert drawn == [True, False, False, False]


def test_a_thumbnail_stays_when_a_later_answer_has_none_and_is_of_no_sample(store: Store) -> None:
    before = answer(decision="review", thumbnail=b"small")
    for said in before, answer():
        store.record(store.runs.begin(HERE), HERE, [photo(b"a.png")], [said])
    assert store.previews(HERE, [b"a.png"], MODEL)[b"a.png"][1] == b"small"
    (outcome,) = store.outcomes(HERE, MODEL)
    assert (outcome.decision, outcome.drawn, outcome.drawn_for_slip) == ("accept", True, True)


def test_the_run_that_first_saw_a_content_stays(store: Store) -> None:
    first = store.runs.begin(HERE)
    store.record(first, HERE, [photo(b"a.png"), photo(b"b.png")], [answer()])
    second = store.runs.begin(HERE)
    store.record(second, HERE, [photo(b"a.png"), photo(b"b.png", "y")], [answer("y")])
    assert [outcome.new_in for outcome in store.outcomes(HERE, MODEL)] == [first, second]


def test_a_photo_with_a_problem_has_no_answer(store: Store) -> None:
    run = store.runs.begin(HERE)
    store.record(run, HERE, [replace(photo(b"a.png"), problem="it burns")], [answer()])
    (outcome,) = store.outcomes(HERE, MODEL)
    assert (outcome.decision, outcome.problem) == (None, "it burns")


def test_a_photo_that_the_model_could_not_read_says_why_and_is_not_classified(store: Store) -> None:
    damaged = Answer(digest("y"), MODEL, "unreadable", problem="it is damaged")
    seen = [photo(b"a.png"), photo(b"b.png", "y")]
    store.record(store.runs.begin(HERE), HERE, seen, [answer(), damaged])
    assert [outcome.problem for outcome in store.outcomes(HERE, MODEL)] == [None, "it is damaged"]
    assert [known.name for known in store.classified(HERE, MODEL)] == [b"a.png"]


def test_what_is_forgotten_is_not_known(store: Store) -> None:
    run = store.runs.begin(HERE)
    store.record(run, HERE, [photo(b"a.png"), photo(b"b.png")], [answer()])
    store.forget(HERE, [b"a.png"])
    assert [known.name for known in store.known(HERE, MODEL)] == [b"b.png"]


def test_an_expected_class_stays_until_another_is_told(store: Store) -> None:
    run = store.runs.begin(HERE)
    store.record(run, HERE, [photo(b"a.png"), photo(b"b.png")], [answer()])
    store.expect(run, HERE, [(b"a.png", 4), (b"none.png", 1)])
    store.record(run, HERE, [photo(b"a.png", "y")], [answer("y")])
    assert [outcome.expected for outcome in store.outcomes(HERE, MODEL)] == [4, None, 1]


def test_more_photos_than_a_page_are_read_in_order(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("garments.store.store._PAGE", 3)
    names = [b"%d.png" % number for number in range(9)]
    store.record(store.runs.begin(HERE), HERE, [photo(name) for name in names], [answer()])
    assert [known.name for known in store.known(HERE, MODEL)] == names


def night(posted: int) -> dict[str, object]:
    return {"posted": posted, "classes": [posted], "confidences": []}


def test_earlier_nights_are_told_the_oldest_first(store: Store) -> None:
    for posted in (3, 0, 5):  # a night without new photos says nothing of them
        store.runs.finish(store.runs.begin(HERE), MODEL, night(posted))
    unreadable = night(2) | {"reviewed": 0, "confidence": None}  # all that this one sent
    store.runs.finish(store.runs.begin(HERE), MODEL, unreadable)
    store.runs.finish(store.runs.begin(b"/elsewhere"), MODEL, night(7))
    now = store.runs.begin(HERE)
    assert [night["classes"] for night in store.runs.earlier(now, HERE, 30)] == [[3], [5]]
    assert [night["classes"] for night in store.runs.earlier(now, HERE, 1)] == [[5]]
    # Those that tell too little to be compared take nobody's place.
    assert [night["classes"] for night in store.runs.earlier(now, HERE, 1, 6)] == []
    assert [night["classes"] for night in store.runs.earlier(now, HERE, 30, 5)] == [[5]]


def test_the_last_night_is_one_over_the_same_directory_that_ended(store: Store) -> None:
    places = (HERE, HERE, HERE, b"/elsewhere")
    first, ended, _, elsewhere = (store.runs.begin(place) for place in places)
    for run in (first, ended, elsewhere):
        store.runs.finish(run, MODEL, night(1))
    assert store.runs.last_ended(store.runs.begin(HERE), HERE) == ended


def test_a_night_ends_and_forgets_what_is_gone_or_does_neither(store: Store) -> None:
    run = store.runs.begin(HERE)
    store.record(run, HERE, [photo(b"a.png"), photo(b"b.png")], [answer()])

    def failing() -> Iterator[bytes]:
        yield from [b"a.png"] * 500  # which are dropped together
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.runs.finish(run, MODEL, night(1), failing())
    assert [known.name for known in store.known(HERE, MODEL)] == [b"a.png", b"b.png"]
    assert store.runs.last_ended(run + 1, HERE) == 0
    store.runs.finish(run, MODEL, night(1), [b"a.png"])
    assert [known.name for known in store.known(HERE, MODEL)] == [b"b.png"]
    assert store.runs.last_ended(run + 1, HERE) == run


def test_a_failed_record_leaves_nothing_of_it(store: Store) -> None:
    run = store.runs.begin(HERE)
    broken = replace(photo(b"a.png"), stamp=Stamp(10, 20, None))  # type: ignore[arg-type]
    with pytest.raises(StoreError):
        store.record(run, HERE, [broken], [answer()])
    assert store.answered([digest("x")], MODEL) == set()


def test_nothing_is_kept_of_a_night_that_never_began(store: Store) -> None:
    with pytest.raises(StoreError):
        store.record(99, HERE, [photo(b"a.png")], [answer()])
    assert list(store.known(HERE, MODEL)) == []


def test_the_tables_are_as_the_migrations_make_them(store: Store) -> None:
    with store._database.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_the_schema_is_that_of_the_last_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(database._MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_current_head() == SCHEMA


def test_a_database_is_opened_again_with_what_it_holds(database_url: str) -> None:
    first = Store(database_url)
    first.open()
    first.record(first.runs.begin(HERE), HERE, [photo(b"a.png")], [answer()])
    first.close()
    second = Store(database_url)
    second.open()
    assert len(list(second.known(HERE, MODEL))) == 1
    second.close()


def test_a_database_of_a_newer_version_is_refused(database_url: str) -> None:
    store = Store(database_url)
    store.open()
    with store._database.writing() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreError, match="newer version of this program.*: update the program"):
        store.open()
    store.close()


def test_a_migration_that_is_cut_leaves_nothing_behind(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("cut")

    store = Store(database_url)
    with monkeypatch.context() as patch:
        patch.setattr("alembic.runtime.migration.HeadMaintainer.update_to_step", broken)
        with pytest.raises(RuntimeError, match="cut"):
            store.open()
    store.open()
    assert list(store.known(HERE, MODEL)) == []
    store.close()


def test_a_program_in_a_folder_of_any_name_makes_its_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "100%(here)s").symlink_to(database._MIGRATIONS)
    monkeypatch.setattr(database, "_MIGRATIONS", tmp_path / "100%(here)s")
    store = Store(f"sqlite:///{tmp_path}/p.db")
    store.open()
    assert list(store.known(HERE, MODEL)) == []
    store.close()


HOLDER = textwrap.dedent("""
    import sys
    from garments.store import Store
    store = Store(sys.argv[1])
    with store.locked():
        print("locked", flush=True)
        sys.stdin.read()
""")


@pytest.fixture
def holder(database_url: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock of the database."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, database_url],
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        yield process
        process.kill()


def test_a_second_night_is_told_who_holds_the_lock(
    database_url: str, holder: subprocess.Popen[str]
) -> None:
    store = Store(database_url)
    told = rf"another night is running: process {holder.pid} on \S+ since \d{{4}}-"
    with pytest.raises(Busy, match=told), store.locked():
        pass
    store.close()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_who_holds_the_lock_of_another_database_of_the_server_is_not_told(
    database_url: str,
) -> None:
    urls = database_url, database_url.replace("/postgres", "/another")
    with psycopg.connect(database_url, autocommit=True) as server:
        server.execute("CREATE DATABASE another")
        with (
            closing(database.Database(urls[0])) as first,
            closing(database.Database(urls[1])) as second,
            locked(first, "night 1"),
            locked(second, "night 2"),
        ):
            for held, told in ((first, "process 1$"), (second, "process 2$")):
                with pytest.raises(Busy, match=told), locked(held, "night 3"):
                    pass
        server.execute("DROP DATABASE another")


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("encoding", ["UTF8", "SQL_ASCII", "LATIN1"])
def test_a_server_keeps_any_text_or_is_refused(encoding: str, database_url: str) -> None:
    url = database_url.replace("/postgres", "/encoded")
    with psycopg.connect(database_url, autocommit=True) as server:
        server.execute(
            f"CREATE DATABASE encoded ENCODING '{encoding}' TEMPLATE template0 LOCALE 'C'"
        )
        refused = pytest.raises(StoreError, match="its encoding is LATIN1.* ENCODING 'UTF8' TEMPL")
        with refused if encoding == "LATIN1" else nullcontext(), closing(Store(url)) as store:
            store.open()
            run = store.runs.begin(HERE)
            store.record(run, HERE, [photo(b"a.png")], [answer(label="鞋 …")])
            assert [found.label for found in store.outcomes(HERE, MODEL)] == ["鞋 …"]
        server.execute("DROP DATABASE encoded")


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_the_server_finds_out_within_a_minute_that_the_machine_of_a_night_is_gone(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = Database(database_url)
    connection = base.connect()
    monkeypatch.setattr(base, "connect", lambda: connection)
    with locked(base, "night 1"):  # over TCP, where a server tells what its socket has
        idle, interval, count = (
            int(connection.exec_driver_sql(f"SHOW tcp_keepalives_{name}").scalar_one())
            for name in ("idle", "interval", "count")
        )
    assert 0 < idle + interval * count <= 60
    base.close()


def test_what_fails_while_the_lock_is_held_is_not_put_down_to_it(store: Store) -> None:
    with pytest.raises(OSError, match="of the disk"), store.locked():
        raise OSError("of the disk")


def test_the_lock_dies_with_its_process(database_url: str, holder: subprocess.Popen[str]) -> None:
    holder.kill()
    holder.wait()
    store = Store(database_url)
    for _ in range(50):  # a server may need a moment to see that its client is gone
        try:
            with store.locked():
                break
        except Busy:
            continue
    else:
        pytest.fail("the lock is still held")
    with store.locked():
        pass
    store.close()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_the_lock_is_free_once_it_is_let_go(database_url: str) -> None:
    with closing(Store(database_url)) as first, closing(Store(database_url)) as second:
        for store in (first, second):
            with store.locked():
                pass


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_night_whose_lock_is_lost_records_nothing_more(database_url: str) -> None:
    store = Store(database_url)
    store.open()
    run = store.runs.begin(HERE)
    with store.locked():
        with psycopg.connect(database_url, autocommit=True) as other:
            other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
            )
        with pytest.raises(StoreError, match="run the night again"):
            store.record(run, HERE, [photo(b"a.png")], [answer()])
    assert [*store.known(HERE, MODEL)] == []
    store.close()


@pytest.mark.parametrize(
    "url", ["predictions.db", "mysql://x/y", "sqlite://", "sqlite:///:memory:", "sqlite:///"]
)
def test_a_url_of_no_such_database_is_refused_with_a_way_out(url: str) -> None:
    with pytest.raises(StoreError, match="must be like sqlite:///predictions.db"):
        Store(url)


@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
def test_a_server_is_named_in_either_way(scheme: str) -> None:
    told = str(database.Database(f"{scheme}://me@127.0.0.1/none"))
    assert told == "postgresql+psycopg://me@127.0.0.1/none"


def test_a_password_is_not_told() -> None:
    store = Store("postgresql://me:secret@127.0.0.1:1/none")
    with pytest.raises(StoreError) as refused:
        store.open()
    assert "secret" not in str(refused.value)
    assert "127.0.0.1" in str(refused.value)


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "p.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(StoreError, match="p.db cannot be used: file is not a database"):
        Store(f"sqlite:///{tmp_path}/p.db").open()


def test_a_folder_that_cannot_be_written_is_told() -> None:
    store = Store("sqlite:////nowhere/p.db")
    told = "/nowhere/p.db.lock cannot be written: No such.*; its folder must be there, and"
    with pytest.raises(StoreError, match=told), store.locked():
        pass
    with pytest.raises(StoreError, match="unable to open database file"):
        store.open()


def test_a_password_in_the_address_of_a_database_is_not_told() -> None:
    for url in (
        "postgresql://me:s3cret@127.0.0.1:1/db",
        "postgresql://me@127.0.0.1:1/db?password=s3cret",
    ):
        with pytest.raises(StoreError, match="127.0.0.1:1/db cannot be used") as error:
            Store(url).open()
        assert "s3cret" not in str(error.value)


@pytest.mark.parametrize("password", ["s3@cret", "s3@cr:et", "@cret", "s3@c/cret"])
def test_an_at_in_a_password_is_refused_without_telling_it(password: str) -> None:
    with pytest.raises(StoreError, match="with %40 for an @ in the password") as refused:
        Store(f"postgresql://me:{password}@127.0.0.1:1/db").open()
    assert "cr" not in str(refused.value)


def test_a_place_where_sqlite_cannot_be_kept_safe_is_refused(tmp_path: Path) -> None:
    # That way of locking files has no shared memory, as a network file system has none.
    url = f"sqlite:///file:{tmp_path}/p.db?vfs=unix-dotfile&uri=true"
    with pytest.raises(StoreError, match="cannot be kept safe there .*: put it on a local disk"):
        Store(url).open()


def test_all_that_may_lie_beside_a_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to("p.db")
    names = [file.name for file in Store(f"sqlite:///{tmp_path}/link.db").files]
    assert names == ["p.db", "p.db-wal", "p.db-shm", "p.db-journal", "p.db.lock"]
    assert Store("postgresql://127.0.0.1/none").files == []


def test_nothing_is_left_beside_the_database(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}/p.db")
    with store.locked():
        store.open()
        store.runs.begin(HERE)
        store.close()
    assert sorted(os.listdir(tmp_path)) == ["p.db", "p.db.lock"]
