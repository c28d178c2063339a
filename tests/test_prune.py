"""What the database may forget, and what it must not."""

import os
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import sqlalchemy as sa

from garments import prune
from garments.store import Busy, Database, Store, retention
from garments.store.desk import Desk
from garments.store.queue import LEASE_SECONDS, rank
from garments.store.reviews import Decision
from garments.store.tables import answers, leases, photos, reviews, runs, skips
from tests.conftest import telling_nobody
from tests.test_store import MODEL, answer, digest, photo

NOW = datetime.now(timezone.utc)
LONG_AGO = NOW - timedelta(days=100)
QUARTER = NOW - timedelta(days=90)


class Shop:
    """A database, and a directory that is there, with a photo of a hundred days ago."""

    def __init__(self, url: str, directory: Path) -> None:
        directory.mkdir()
        self.url, self.here = url, os.fsencode(directory)
        self.store, self.database = Store(url), Database(url)
        self.store.open()

    def night(self, *contents: str, started: datetime = LONG_AGO, **changes: object) -> int:
        """A run that saw a photo of each content, named by it, and had it answered."""
        directory = changes.pop("directory", self.here)
        assert isinstance(directory, bytes)
        run = self.store.runs.begin(directory)
        with self.database.writing() as connection:
            connection.execute(runs.update().where(runs.c.id == run).values(started=started))
        seen = [photo(content.encode(), content) for content in contents]
        given = [answer(content, **changes) for content in contents]
        self.store.record(run, directory, seen, given)
        return run

    def prune(self) -> retention.Pruned:
        return retention.prune(self.database, QUARTER)

    def kept(self) -> set[bytes]:
        with self.database.reading() as connection:
            return set(connection.scalars(sa.select(answers.c.digest)))

    def known(self, directory: bytes) -> set[bytes]:
        with self.database.reading() as connection:
            query = sa.select(photos.c.name).where(photos.c.directory == directory)
            return set(connection.scalars(query))

    def close(self) -> None:
        self.store.close()
        self.database.close()


@pytest.fixture
def shop(database_url: str, tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(database_url, tmp_path / "photos")
    yield shop
    shop.close()


def test_an_old_answer_goes_when_no_photo_has_its_content(shop: Shop) -> None:
    # Enough contents that some are in every part of them that is looked at for itself.
    contents = [f"photo {number}" for number in range(200)]
    shop.night(*contents, thumbnail=b"small")
    gone = contents[::2]
    shop.store.forget(shop.here, [content.encode() for content in gone])
    assert shop.prune() == (100, 100)
    assert shop.kept() == {digest(content) for content in contents[1::2]}
    assert shop.prune() == (0, 100)


def test_an_answer_of_a_quarter_year_stays(shop: Shop) -> None:
    shop.night("new", started=QUARTER + timedelta(seconds=1))
    shop.store.forget(shop.here, [b"new"])
    assert shop.prune() == (0, 1)


def test_an_answer_stays_for_a_photo_in_another_directory(shop: Shop) -> None:
    shop.night("a")
    shop.night("a", started=NOW, directory=b"/elsewhere")
    shop.store.forget(shop.here, [b"a"])
    assert shop.prune() == (0, 1)


def test_what_a_person_judged_stays(shop: Shop) -> None:
    shop.night("a", decision="review", thumbnail=b"\x89PNG small")
    desk = Desk(shop.url)
    desk.reviews.decide(Decision("request", digest("a"), 3, "Ana"))
    shop.store.forget(shop.here, [b"a"])
    assert shop.prune() == (0, 1)
    assert desk.queue.thumbnail(digest("a")) == b"\x89PNG small"


def test_photos_go_with_a_directory_that_is_gone(shop: Shop) -> None:
    shop.night("a", "b", directory=b"/gone")
    shop.night("c")
    assert shop.prune() == (2, 1)
    assert shop.known(b"/gone") == set()
    assert shop.known(shop.here) == {b"c"}


def test_photos_stay_where_another_machine_ran_the_last_night(shop: Shop) -> None:
    shop.night("a", directory=b"/another machine's")
    last = shop.night("b", directory=b"/another machine's")
    with shop.database.writing() as connection:
        connection.execute(runs.update().where(runs.c.id == last).values(host="another"))
    assert shop.prune() == (0, 2)
    assert shop.known(b"/another machine's") == {b"a", b"b"}


def test_photos_stay_where_a_night_has_run_since(shop: Shop) -> None:
    shop.night("a", directory=b"/another machine's")
    shop.night("b", directory=b"/another machine's", started=NOW)
    assert shop.prune() == (0, 2)


def test_a_photo_that_waits_for_people_stays(shop: Shop) -> None:
    shop.night("a", directory=b"/gone", decision="review")
    shop.store.wait(b"/gone", [(b"a", rank("doubtful", 0.5))])
    assert shop.prune() == (0, 1)
    (item,) = Desk(shop.url).queue.take("tab", "Ana", 5)
    assert item.digest == digest("a")


@pytest.mark.parametrize(
    ("at", "undone", "stays"),
    [(LONG_AGO, None, False), (LONG_AGO, NOW, True), (NOW, None, True)],
    ids=["long ago", "taken back", "today"],
)
def test_a_photo_that_waited_goes_once_an_answer_has_stood_for_long(
    at: datetime, undone: datetime | None, stays: bool, shop: Shop
) -> None:
    shop.night("a", directory=b"/gone", decision="review")
    shop.store.wait(b"/gone", [(b"a", rank("doubtful", 0.5))])
    Desk(shop.url).reviews.decide(Decision("request", digest("a"), 3, "Ana"))
    with shop.database.writing() as connection:
        connection.execute(reviews.update().values(at=at, undone=undone))
    shop.prune()
    assert shop.known(b"/gone") == ({b"a"} if stays else set())


def test_what_people_skipped_goes_with_what_is_as_old(shop: Shop) -> None:
    with shop.database.writing() as connection:
        for name, then in (("old", LONG_AGO), ("new", NOW)):
            skip = {"digest": digest(name), "who": "Ana", "at": then}
            connection.execute(skips.insert().values(skip))
    shop.prune()
    with shop.database.reading() as connection:
        assert [*connection.scalars(sa.select(skips.c.digest))] == [digest("new")]


def test_what_tabs_have_no_more_goes(shop: Shop) -> None:
    ends = {"over": -1, "held": LEASE_SECONDS, "of a clock that was ahead": 86_400}
    with shop.database.writing() as connection:
        for name, seconds in ends.items():
            lease = {"digest": digest(name), "tab": "tab", "until": time.time() + seconds}
            connection.execute(leases.insert().values(lease))
    shop.prune()
    with shop.database.reading() as connection:
        assert [*connection.scalars(sa.select(leases.c.digest))] == [digest("held")]


def test_a_photo_that_comes_back_is_sent_again(shop: Shop) -> None:
    shop.night("a")
    shop.store.forget(shop.here, [b"a"])
    shop.prune()
    assert shop.store.answered([digest("a")], MODEL) == set()


def test_the_command_prunes_and_says_what_went(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GARMENTS_DATABASE_URL", shop.url)
    shop.night("a", "b")
    shop.store.forget(shop.here, [b"a"])
    assert prune.main(["--days", "99"]) == 0
    assert capsys.readouterr().out.startswith("1 answers from before ")
    assert shop.kept() == {digest("b")}


def test_the_command_keeps_an_answer_for_90_days_if_nobody_says_for_how_many(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GARMENTS_DATABASE_URL", shop.url)
    for days in (89, 91):
        shop.night(f"{days} days", started=NOW - timedelta(days=days))
    shop.store.forget(shop.here, [b"89 days", b"91 days"])
    assert prune.main([]) == 0
    assert shop.kept() == {digest("89 days")}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_what_went_is_gone_though_it_cannot_be_told(shop: Shop) -> None:
    shop.night("a")
    shop.store.forget(shop.here, [b"a"])
    code, told = telling_nobody("garments.prune", GARMENTS_DATABASE_URL=shop.url)
    assert (code, told.count("\n")) == (1, 1)
    assert told.startswith("the database is pruned; [Errno 28]")
    assert shop.kept() == set()


def test_the_command_leaves_a_night_alone(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GARMENTS_DATABASE_URL", shop.url)
    with shop.store.locked():
        assert prune.main([]) == 4
    assert "another night is running: process " in capsys.readouterr().err


def test_a_night_that_comes_meanwhile_is_told_what_is_running(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pruning(*_: object) -> retention.Pruned:
        told = pytest.raises(Busy, match=rf"garments.prune is running: process {os.getpid()} on ")
        with told, shop.store.locked():
            pass
        return retention.Pruned(0, 0)

    monkeypatch.setenv("GARMENTS_DATABASE_URL", shop.url)
    monkeypatch.setattr(prune, "prune", pruning)
    assert prune.main([]) == 0


def test_an_interrupted_command_says_so_in_a_line(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setenv("GARMENTS_DATABASE_URL", shop.url)
    monkeypatch.setattr(prune, "prune", interrupted)
    assert prune.main([]) == 130
    assert capsys.readouterr().err == "interrupted: the same command goes on\n"


def test_the_command_makes_no_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GARMENTS_DATABASE_URL", f"sqlite:///{tmp_path}/none.db")
    assert prune.main([]) == 2
    assert "there is no database" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("days", ["0", "-1", "1.5", "x", "36501", "²"])
def test_the_command_refuses_days_that_are_none(
    days: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        prune.main([f"--days={days}"])
    assert exit_.value.code == 2
    assert "must be a whole number from 1 to 36,500" in capsys.readouterr().err
