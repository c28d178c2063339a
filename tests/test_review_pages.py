"""The pages `/review` and `/runs` without a browser: what they answer, and what they refuse."""

import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from garments.bounds import none_at_least
from garments.engine import Engine
from garments.morning.drift import LEAST_PHOTOS
from garments.store.archived import Archived
from garments.store.nights import Packer
from garments.store.tables import skips
from garments.web.pages.plots import Plot
from tests.conftest import MODEL as FASHION
from tests.conftest import hundred
from tests.test_reviews import Desk
from tests.test_store import HERE, MODEL, digest

TAB, OTHER = "tab-00000001", "tab-00000002"


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(f"sqlite:///{tmp_path}/predictions.db")
    yield desk
    desk.close()


class Person:
    """Somebody who has given a name, and whose page asks the service."""

    def __init__(self, client: FlaskClient, name: str) -> None:
        self.client = client
        self._token = re.search(r'csrf-token" content="([^"]+)"', self.get("/sign-in"))
        form = {"name": name, "csrf_token": self.token}
        assert client.post("/sign-in", data=form).status_code == 303
        self._token = re.search(r'csrf-token" content="([^"]+)"', self.get("/review"))

    @property
    def token(self) -> str:
        assert self._token is not None
        return self._token[1]

    def get(self, path: str) -> str:
        return self.client.get(path).get_data(as_text=True)

    def ask(self, what: str, tab: str = TAB, **fields: object) -> tuple[int, dict]:
        headers = {"X-CSRF-Token": self.token, "Accept": "application/json"}
        body = {"tab": tab, "kind": None, **fields}
        response = self.client.post(f"/review/{what}", json=body, headers=headers)
        return response.status_code, response.get_json()

    def decide(self, content: str, answer: int | None, **fields: object) -> tuple[int, dict]:
        request = f"request-{content}-{answer}"
        photo = digest(content).hex()
        return self.ask("decide", request=request, photo=photo, answer=answer, **fields)


NewPerson = Callable[[str], Person]


@pytest.fixture
def person(desk: Desk, make_client: Callable[..., FlaskClient]) -> NewPerson:
    app = make_client(database_url=desk.url).application
    return lambda name: Person(app.test_client(), name)


def test_before_any_night_the_pages_say_so(
    make_client: Callable[..., FlaskClient], tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/none.db"
    ana = Person(make_client(database_url=url).application.test_client(), "Ana")
    assert "No night has run yet" in ana.get("/review")
    assert "No night has run yet" in ana.get("/runs")
    status, problem = ana.ask("next")
    assert (status, problem["code"]) == (503, "no_database")
    assert ana.client.get(f"/review/photo/{'0' * 64}").status_code == 503
    assert list(tmp_path.iterdir()) == []


def test_a_database_that_is_moved_away_is_not_made_anew(
    desk: Desk, person: NewPerson, tmp_path: Path
) -> None:
    desk.add("a")
    ana = person("Ana")
    database = tmp_path / "predictions.db"
    database.rename(tmp_path / "elsewhere.db")
    assert "No night has run yet" in ana.get("/runs")
    assert not database.exists()
    (tmp_path / "elsewhere.db").rename(database)
    assert ana.ask("next")[0] == 200


def test_what_does_not_wait_cannot_be_passed_over(desk: Desk, person: NewPerson) -> None:
    desk.add("a", "b")
    desk.store.wait(HERE, [(b"b", None)])
    ana = person("Ana")
    for content in ("a", "b", "never seen"):
        assert ana.ask("skip", photo=digest(content).hex())[0] == 200
    with desk.database.reading() as connection:
        assert list(connection.scalars(sa.select(skips.c.digest))) == [digest("a")]


def test_the_review_needs_a_name(desk: Desk, make_client: Callable[..., FlaskClient]) -> None:
    client = make_client(database_url=desk.url)
    assert client.get("/review").headers["Location"] == "/sign-in?next=/review"


def test_a_page_of_another_site_can_do_nothing(desk: Desk, person: NewPerson) -> None:
    desk.add("a")
    ana = person("Ana")
    for what in ("next", "decide", "undo", "skip", "release"):
        body = {"tab": TAB, "photo": digest("a").hex(), "answer": 1, "request": "request-1"}
        assert ana.client.post(f"/review/{what}", json=body).status_code == 403
    assert desk.taken("other") == ["a"]


def test_people_choose_among_the_classes_of_nights_whatever_folder_comes_first(
    desk: Desk, make_client: Callable[..., FlaskClient], tmp_path: Path
) -> None:
    models = tmp_path / "models"
    models.mkdir()
    (models / FASHION.name).symlink_to(FASHION)
    card = Path(shutil.copytree(FASHION, models / "a-shop")) / "card.json"
    told = json.loads(card.read_text())
    card.write_text(json.dumps({**told, "name": "a-shop", "labels": told["labels"][::-1]}))
    client = make_client(database_url=desk.url, model_dir=models)
    assert client.get("/ready").json["models"][0]["name"] == "a-shop"
    page = Person(client, "Ana").get("/review")
    offered = re.findall(r'data-answer="(\d)".*?<span>([^<]+)</span>', page, re.DOTALL)
    assert dict(offered) == {str(n): label for n, label in enumerate(told["labels"])}


def test_the_next_photos_come_with_all_that_is_shown(desk: Desk, person: NewPerson) -> None:
    desk.add("a", "b")
    desk.store.expect(1, HERE, [(b"a", 4)])
    status, answer = person("Ana").ask("next")
    assert status == 200
    first, second = answer["items"]
    assert (first["directory"], first["name"]) == (HERE.decode(), "a")
    assert (first["expected"], first["kind"]) == ("Coat", "doubtful")
    assert first["top"] == [["Dress", 0.9], ["Coat", 0.1]]
    assert first["prediction"] == 3
    assert second["expected"] is None
    assert answer["left"] == {"doubtful": 2, "wrong": 0, "sample": 0}


def test_a_name_that_cannot_be_shown_is_made_readable(desk: Desk, person: NewPerson) -> None:
    desk.add("a", "b", "c", "d")
    names = {b"a": b"caf\xe9\n.jpg", b"b": "é\x85.jpg".encode(), b"c": b"=1+1.jpg"}
    names |= {b"d": "gpj\u202e.jpg".encode()}
    Archived(desk.database, b"/p\t").follow(HERE, names)
    items = person("Ana").ask("next")[1]["items"]
    # As in the table, and as the report shows it.
    readable = {"file:caf%E9%0A.jpg", "é\\x85.jpg", "./=1+1.jpg", "gpj\\u202e.jpg"}
    assert {item["name"] for item in items} == readable
    assert {item["directory"] for item in items} == {"/p\\t"}


@pytest.mark.parametrize(
    ("shares", "least"),
    [
        ([0.004, 0.003, 0.001], 1 - 0.004 - 0.003 - 8 * 0.001),
        ([0.5, 0.3, 0.1], -0.6),
        ([0.05], 0.5),  # of an answer whose other classes were not kept
        ([0.1] * 10, 0.0),
    ],
)
def test_what_is_left_for_none_of_the_classes_is_bounded(shares: list[float], least: float) -> None:
    assert none_at_least(shares, 10) == pytest.approx(least)


def test_how_surely_it_is_none_of_the_classes_comes_along(desk: Desk, person: NewPerson) -> None:
    desk.add("a", top=[["Bag", 0.004], ["Coat", 0.003], ["Shirt", 0.001]])
    (item,) = person("Ana").ask("next")[1]["items"]
    assert item["none"] == pytest.approx(0.985)


def test_a_decision_is_kept_under_the_name_of_the_person(desk: Desk, person: NewPerson) -> None:
    desk.add("a", "b")
    status, answer = person("Ana").decide("a", 9)
    assert status == 200
    assert [item["name"] for item in answer["items"]] == ["b"]
    assert (answer["own"], answer["hour"]) == (1, 1)
    (review,) = desk.reviews.standing()
    assert (review.who, review.answer) == ("Ana", 9)


def test_who_was_later_is_told_kindly_what_stands(desk: Desk, person: NewPerson) -> None:
    desk.add("a")
    assert person("Ben").decide("a", None)[0] == 200
    status, problem = person("Ana").decide("a", 3)
    assert (status, problem["code"]) == (409, "decided")
    assert problem["detail"] == (
        "Ben has answered none of these for this photo already; that stands, and yours was not kept"
    )


def test_what_is_taken_back_comes_again(desk: Desk, person: NewPerson) -> None:
    desk.add("a")
    ana, ben = person("Ana"), person("Ben")
    _, answer = ana.decide("a", 3)
    assert ben.ask("undo", OTHER, review=answer["review"])[0] == 404
    status, taken = ana.ask("undo", review=answer["review"])
    assert (status, taken["item"]["name"]) == (200, "a")
    assert ana.ask("next")[1]["mine"] == []


def test_after_a_reload_there_is_still_what_can_be_taken_back(
    desk: Desk, person: NewPerson
) -> None:
    desk.add("a", "b")
    ana = person("Ana")
    numbers = [ana.decide(name, 3)[1]["review"] for name in ("a", "b")]
    assert ana.ask("next", OTHER)[1]["mine"] == numbers


def test_two_tabs_have_different_photos(desk: Desk, person: NewPerson) -> None:
    desk.add(*"abcdef")
    ana = person("Ana")
    here, there = ana.ask("next")[1]["items"], ana.ask("next", OTHER)[1]["items"]
    assert [item["name"] for item in here] == ["a", "b", "c", "d"]
    assert [item["name"] for item in there] == ["e", "f"]
    ana.ask("release", photos=[item["photo"] for item in here], until=here[0]["until"])
    assert [i["name"] for i in ana.ask("next", OTHER)[1]["items"]] == ["e", "f", "a", "b"]


def test_what_a_page_lets_go_at_its_end_is_not_taken_from_the_one_loaded_anew(
    desk: Desk, person: NewPerson
) -> None:
    desk.add("a")
    ana = person("Ana")
    (old,) = ana.ask("next")[1]["items"]
    ana.ask("next")
    ana.ask("release", photos=[old["photo"]], until=old["until"])
    assert ana.ask("next", OTHER)[1]["items"] == []


def test_one_kind_can_be_looked_at_alone(desk: Desk, person: NewPerson) -> None:
    desk.add("a")
    desk.add("w", kind="wrong", decision="accept")
    _, answer = person("Ana").ask("next", kind="wrong")
    assert [item["name"] for item in answer["items"]] == ["w"]


@pytest.mark.parametrize(
    ("what", "fields"),
    [
        ("next", {"tab": None}),
        ("next", {"tab": "../../etc"}),
        ("decide", {"answer": 10}),
        ("decide", {"answer": -1}),
        ("decide", {"answer": True}),
        ("decide", {"answer": "3"}),
        ("decide", {"photo": "ab"}),
        ("decide", {"photo": "z" * 64}),
        ("decide", {"request": "x" * 65}),
        ("undo", {"review": "1"}),
        ("undo", {"review": 2**40}),
        ("release", {"photos": ["ab"], "until": 1}),
        ("release", {"photos": [], "until": "now"}),
        ("release", {"photos": ["ab"] * 101, "until": 1}),
        ("release", {"photos": [], "until": True}),
        ("release", {"photos": [], "until": 1e300}),
    ],
)
def test_what_the_page_never_sends_is_refused(
    what: str, fields: dict[str, object], desk: Desk, person: NewPerson
) -> None:
    desk.add("a")
    good = {"photo": digest("a").hex(), "answer": 1, "request": "request-1"}
    status, problem = person("Ana").ask(what, **{"tab": TAB, **good, **fields})
    assert (status, problem["code"]) == (400, "malformed_request")
    assert list(desk.reviews.standing()) == []


def test_more_than_the_page_ever_sends_is_not_even_parsed(desk: Desk, person: NewPerson) -> None:
    desk.add("a")
    ana = person("Ana")
    for many, status in ((1000, 200), (100_000, 413)):
        assert ana.ask("next", more=[[]] * many)[0] == status


def test_a_photo_is_sent_as_what_it_is(desk: Desk, person: NewPerson) -> None:
    png = hundred()[0].read_bytes()
    desk.add("a", thumbnail=png)
    desk.add("b", thumbnail=b"\xff\xd8\xff rest")
    desk.add("c", thumbnail=None)
    client = person("Ana").client
    found = [client.get(f"/review/photo/{digest(name).hex()}") for name in "abc"]
    assert [response.status_code for response in found] == [200, 200, 404]
    assert [response.content_type for response in found[:2]] == ["image/png", "image/jpeg"]
    assert found[0].data == png
    assert found[0].headers["Cache-Control"].startswith("private, ")
    assert found[0].headers["X-Content-Type-Options"] == "nosniff"
    for odd in ("ab", "z" * 64, "..%2F" * 16):
        assert client.get(f"/review/photo/{odd}").status_code == 404


def test_a_backup_of_an_older_version_serves_once_a_page_has_found_it(
    person: NewPerson, desk: Desk
) -> None:
    ana = person("Ana")
    assert ana.client.get("/runs").status_code == 200
    with desk.database.writing() as connection:
        for column in ("runs.model_answers", "runs.model_accepts", "answers.drawn_for_slip"):
            table, _, name = column.partition(".")
            connection.exec_driver_sql(f"ALTER TABLE {table} DROP COLUMN {name}")
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0004'")
    assert [ana.client.get("/runs").status_code for _ in range(2)] == [503, 200]


def test_a_database_that_fails_is_told_and_nothing_of_the_inside(
    person: NewPerson, desk: Desk
) -> None:
    desk.add("a")
    ana = person("Ana")
    with desk.database.writing() as connection:
        connection.exec_driver_sql("DROP TABLE leases")
    status, problem = ana.ask("next")
    assert (status, problem["code"]) == (503, "no_database")
    assert "leases" not in problem["detail"]


def test_a_night_that_writes_for_long_is_told_before_the_worker_counts_as_stuck(
    desk: Desk, make_client: Callable[..., FlaskClient]
) -> None:
    desk.add("a")
    app = make_client(database_url=desk.url, deadline_seconds=0.5).application
    ana = Person(app.test_client(), "Ana")
    with desk.database.writing():
        began = time.monotonic()
        status, problem = ana.ask("next")
        assert time.monotonic() - began < 1
    assert (status, problem["code"]) == (503, "no_database")
    assert ana.ask("next")[0] == 200


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_table_that_somebody_locks_is_told_before_the_worker_counts_as_stuck(
    database_url: str, make_client: Callable[..., FlaskClient]
) -> None:
    desk = Desk(database_url)
    desk.add("a")
    # An address may have options of its own.
    url = f"{database_url}?options=-c%20application_name%3Dpages"
    app = make_client(database_url=url, deadline_seconds=2).application
    ana = Person(app.test_client(), "Ana")
    with psycopg.connect(database_url) as other:
        other.execute("SET idle_in_transaction_session_timeout = '8s'")  # or it might never end
        other.execute("LOCK TABLE leases")
        began = time.monotonic()
        status, problem = ana.ask("next")
        assert time.monotonic() - began < 2
        other.rollback()
    assert (status, problem["code"]) == (503, "no_database")
    assert ana.ask("next")[0] == 200
    desk.close()


@pytest.mark.parametrize(
    ("page", "again"),
    [("/runs?of=0123456789ab", "/runs?of=0123456789ab"), ("/runs?of=//x", "/runs")],
)
def test_a_page_that_fails_leads_to_itself_again(
    page: str, again: str, person: NewPerson, desk: Desk
) -> None:
    ana = person("Ana")
    with desk.database.writing() as connection:
        connection.exec_driver_sql("DROP TABLE runs")
    told = ana.client.get(page, headers={"Accept": "text/html"})
    assert told.status_code == 503
    assert f'<a href="{again}">Load the page again</a>' in told.text


# Nights


def night(desk: Desk, model: str = MODEL, directory: bytes = HERE, **columns: object) -> int:
    """A night that ended, with its report."""
    run = desk.store.runs.begin(directory)
    told = {
        "found": 10,
        "accept": 6,
        "review": 3,
        "reviewed": 0,
        "unreadable": 1,
        "posted": 10,
        "mismatched": 2,
        "seconds": 1.5,
        "classes": [9, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        "confidences": [0] * 18 + [9, 0],
        "confidence": 0.93,
    }
    desk.store.runs.finish(run, model, told | columns)
    keep_report(desk, run)
    return run


def keep_report(desk: Desk, run: int) -> None:
    packer = Packer()
    packer.add("<title>Report</title>")
    desk.store.runs.keep_report(run, packer.packed() or b"")


def test_the_nights_are_a_table_and_plots_that_say_what_they_show(
    desk: Desk, person: NewPerson
) -> None:
    night(desk)
    run = night(desk, found=20, accept=15)
    desk.store.runs.begin(HERE)  # which never ends
    page = person("Ana").get("/runs")
    assert f'<a href="/runs/{run}/report">' in page
    for text in ("75.0\u00a0%", "93.0\u00a0%", "did not end, or is still running", MODEL):
        assert text in page
    descriptions = re.findall(r"<title[^>]*>(.*?)</title>\s*<desc[^>]*>(.*?)</desc>", page)
    assert re.fullmatch(r"\S+ 10; \S+ 20", dict(descriptions)["Photos"])
    assert len(descriptions) == 16


def test_a_night_that_failed_after_its_report_leads_to_it(desk: Desk, person: NewPerson) -> None:
    run = desk.store.runs.begin(HERE)
    keep_report(desk, run)
    page = person("Ana").get("/runs")
    assert "did not end, or is still running" in page
    assert f'<a href="/runs/{run}/report">' in page


def test_a_night_of_few_new_photos_flattens_no_other(desk: Desk, person: NewPerson) -> None:
    half = LEAST_PHOTOS // 2
    night(desk, classes=[LEAST_PHOTOS - half, half, *[0] * 8])
    night(desk, classes=[0, 0, LEAST_PHOTOS - 1, *[0] * 7])
    page = person("Ana").get("/runs")
    told = dict(re.findall(r"<title[^>]*>(.*?)</title>\s*<desc[^>]*>(.*?)</desc>", page))
    assert re.fullmatch(r"\S+ 50.0\u00a0%", told["Trouser"])
    assert re.fullmatch(r"\S+ 0.0\u00a0%", told["Pullover"])
    assert f"fewer than {LEAST_PHOTOS} new photos are left out" in page


def test_the_mean_confidence_of_a_night_of_few_new_photos_is_in_the_table_alone(
    desk: Desk, person: NewPerson
) -> None:
    night(desk, confidences=[0] * 19 + [LEAST_PHOTOS], confidence=0.96)
    night(desk, confidences=[LEAST_PHOTOS - 1] + [0] * 19, confidence=0.04)
    page = person("Ana").get("/runs")
    told = dict(re.findall(r"<title[^>]*>(.*?)</title>\s*<desc[^>]*>(.*?)</desc>", page))
    assert re.fullmatch(r"\S+ 96.0\u00a0%", told["Mean confidence of the new"])
    assert '<th scope="col" class="n">Mean confidence of the new</th>' in page
    assert '<td class="n">4.0\u00a0%</td>' in page


def test_a_night_between_nights_without_shares_is_drawn_as_a_point(
    desk: Desk, person: NewPerson
) -> None:
    for new in (LEAST_PHOTOS, 1, LEAST_PHOTOS, LEAST_PHOTOS, 1, LEAST_PHOTOS, 1):
        night(desk, classes=[new, *[0] * 9])
    page = person("Ana").get("/runs")
    trouser = page[page.index(">Trouser</title>") :].partition("</svg>")[0]
    assert (trouser.count("<polyline"), trouser.count('class="alone"')) == (1, 2)
    assert 'class="end"' not in trouser  # the last night has none


@pytest.mark.parametrize(
    ("values", "latest", "range_"),
    [
        ([0.5, 0.7, 0.6], "0.6", "0.5 to 0.7"),
        ([0.5, 0.7, None], "–", "0.5 to 0.7"),
        ([0.5, None], "–", "0.5"),
        ([0.5], "0.5", ""),
        ([None], "–", ""),
        ([], "–", ""),
    ],
)
def test_beside_a_plot_stands_what_the_last_night_has(
    values: list[float | None], latest: str, range_: str
) -> None:
    plot = Plot("Right", values, ["2026-11-26"] * len(values), str)
    assert (plot.latest, plot.range) == (latest, range_)


def test_one_night_is_no_nights(desk: Desk, person: NewPerson) -> None:
    night(desk)
    assert "The last night over <code>" in person("Ana").get("/runs")
    night(desk)
    assert "The last 2 nights over <code>" in person("Ana").get("/runs")


def test_a_folder_that_is_sorted_often_leaves_another_its_nights(
    desk: Desk, person: NewPerson, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("garments.web.pages.runs._NIGHTS", 2)
    ana = person("Ana")
    for directory in (HERE, HERE, *[b"/hourly"] * 3):
        run = desk.store.runs.begin(directory, MODEL)
        desk.store.runs.finish(run, MODEL, {"found": 1})
    told = [ana.get(path) for path in re.findall(r"/runs\?of=\w+", ana.get("/runs"))]
    over = [re.findall(r"The last 2 nights over <code><bdi>(.*?)</bdi>", page) for page in told]
    assert sorted(over) == [["/hourly"], [HERE.decode()]]


def test_only_folders_of_the_last_nights_can_be_chosen(
    desk: Desk, person: NewPerson, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("garments.web.pages.runs._PLACES", 2)
    for directory in (b"/c", b"/b", b"/a", b"/b"):
        run = desk.store.runs.begin(directory, MODEL)
        desk.store.runs.finish(run, MODEL, {"found": 1})
    page = person("Ana").get("/runs")
    assert len(re.findall(r"/runs\?of=\w+", page)) == 2
    assert "over <code><bdi>/b</bdi>" in page
    assert "/c" not in re.findall(r"<bdi>(.*?)</bdi>", page)


def test_nights_from_before_a_column_was_kept_are_shown_too(desk: Desk, person: NewPerson) -> None:
    night(desk, confidence=None, reviewed=None, mismatched=None, found=0, classes=None)
    assert "92.5\u00a0%" in person("Ana").get("/runs")  # the middle of its bin


def test_how_right_all_are_waits_for_a_night_that_counts_what_the_model_accepted(
    desk: Desk, person: NewPerson
) -> None:
    desk.add("a")
    desk.add("s", kind="sample", decision="accept")
    for name in ("a", "s"):
        desk.decide(name, 3)
    night(desk, review=1, reviewed=2)
    assert "to be told after the next night" in person("Ana").get("/runs")
    night(desk, review=1, reviewed=2, model_answers=9, model_accepts=7)
    page = " ".join(re.sub(r"<[^>]+>", " ", person("Ana").get("/runs")).split())
    assert "Right of all, as far as these tell 100.0 %" in page


def test_a_doubtful_photo_of_none_of_the_classes_is_told_of_beside_the_rates(
    desk: Desk, person: NewPerson
) -> None:
    desk.add("a", "b", "c", "d")
    for name, answer in (("a", 3), ("b", 4), ("c", None), ("d", None)):
        desk.decide(name, answer)
    night(desk)
    page = " ".join(re.sub(r"<[^>]+>", " ", person("Ana").get("/runs")).split())
    doubtful = page.partition("Right of the doubtful ones that were looked at ")[2]
    assert doubtful.startswith("50.0 % (1 of 2; ")
    assert "2 more showed none of the ten, for which no class is right" in doubtful
    assert "None of these, accepted" not in page


def accepts(count: int) -> dict[str, int]:
    """What a night notes whose models accepted so many of a hundred answers."""
    return {"model_answers": 100, "model_accepts": count}


def looked_at(desk: Desk, model: str = MODEL) -> None:
    """Half of the doubtful answers of a model are right, and all of the sample."""
    for kind, decision in (("doubtful", "review"), ("sample", "accept")):
        names = [f"{model} {kind} {number}" for number in range(4)]
        desk.add(*names, kind=kind, decision=decision, model=model)
        for number, name in enumerate(names):
            desk.decide(name, 4 if kind == "doubtful" and number % 2 else 3)


def right_of_all(person: Person, path: str = "/runs") -> list[str]:
    """What the page says of each model."""
    page = person.get(path).replace("\u00a0", " ")
    told = re.findall(r"Right of all, as far as these tell</dt><dd>(.+?)</dd>", page)
    return [re.sub(r"<[^>]+>", "", one) for one in told]


def test_how_right_all_are_is_weighed_over_all_directories(desk: Desk, person: NewPerson) -> None:
    looked_at(desk)
    night(desk, directory=b"/photos/a", **accepts(90))
    night(desk, directory=b"/photos/b", **accepts(50))
    ana = person("Ana")
    told = [right_of_all(ana, path) for path in re.findall(r"/runs\?of=\w+", ana.get("/runs"))]
    assert told == [told[0]] * 3  # with the desk's own
    assert told[0][0].startswith("85.0 % (")  # 30 of 100 doubtful, of which half are right


def test_the_address_of_a_folder_stays_its_own(desk: Desk, person: NewPerson) -> None:
    ana, shown = person("Ana"), "The last night over <code><bdi>/photos/south"
    night(desk, directory=b"/photos/south")
    night(desk, directory=b"/photos/west")
    (address,) = re.findall(r'(/runs\?of=\w+)"><bdi>/photos/south', ana.get("/runs"))
    assert shown in ana.get(address)
    night(desk, directory=b"/photos/east")
    assert shown in ana.get(address)
    assert "night over <code><bdi>/photos/east" in ana.get("/runs?of=ffffffffffff")


def test_how_right_all_are_is_weighed_by_a_models_own_nights(desk: Desk, person: NewPerson) -> None:
    looked_at(desk)
    night(desk, **accepts(90))
    night(desk, "m@0", **accepts(20))
    night(desk, f"{MODEL}+m@0", **accepts(40))
    (told,) = right_of_all(person("Ana"))
    assert told.startswith("95.0 % (")
    assert "m@0" not in told


def test_where_models_served_side_by_side_they_are_told_together(
    desk: Desk, person: NewPerson
) -> None:
    looked_at(desk)
    for other in ("other@1", "third@1"):
        desk.add(other, model=other)
        desk.decide(other, 4)
    night(desk, f"{MODEL}+other@1", **accepts(80))
    _, _, told = right_of_all(person("Ana"))
    # Of the doubtful ones of both, 2 of 5 are right.
    assert told.startswith("88.0 % (")
    assert "together with other@1, whose answers the nights do not count apart" in told


def test_a_report_is_shown_under_a_policy_of_its_own(desk: Desk, person: NewPerson) -> None:
    run = night(desk)
    client = person("Ana").client
    response = client.get(f"/runs/{run}/report")
    assert response.get_data(as_text=True) == "<title>Report</title>"
    policy = response.headers["Content-Security-Policy"]
    assert "script-src" not in policy
    assert policy.startswith("default-src 'none'")
    assert "sandbox" in policy
    for unknown in (run + 1, 2**60):
        assert client.get(f"/runs/{unknown}/report").status_code == 404


def test_a_report_that_is_not_kept_leads_to_the_first_page(desk: Desk, person: NewPerson) -> None:
    told = person("Ana").client.get("/runs/7/report", headers={"Accept": "text/html"})
    assert "the report of this night is not kept" in told.text.lower()
    assert '<a href="/">Go to the first page</a>' in told.text


def test_names_are_shown_and_never_run(desk: Desk, person: NewPerson) -> None:
    run = desk.store.runs.begin(b"/<script>alert(1)</script>\xff")
    desk.store.runs.finish(run, "<b>m</b>@1", {"found": 1, "accept": 1})
    page = person("<i>Ana</i>").get("/runs")
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    assert "<b>m</b>" not in page
    assert "<i>Ana" not in page


def test_what_people_said_becomes_the_accuracy_and_a_threshold(
    desk: Desk, person: NewPerson
) -> None:
    night(desk)
    names = [f"{number}" for number in range(120)]
    desk.add(*names)
    for name in names:
        desk.decide(name, 3)
    desk.add("s", kind="sample", decision="accept")
    desk.decide("s", None)
    page = " ".join(re.sub(r"<[^>]+>", " ", person("Ana").get("/runs")).split())
    assert "100.0 % (120 of 120; 96.9 % to 100.0 %)" in page
    assert "0.0 % (0 of 1;" in page
    assert "At most 1.0 % wrong: no threshold can be told yet." in page
    assert "Dress 100.0 % (120 of 120;" in page


def test_the_weeks_are_of_the_doubtful_alone(desk: Desk, person: NewPerson) -> None:
    for number, kind in enumerate(("doubtful", "sample", "wrong")):
        desk.add(str(number), kind=kind, decision="review" if kind == "doubtful" else "accept")
        desk.decide(str(number), 3 if kind == "sample" else 4)
    page = " ".join(re.sub(r"<[^>]+>", " ", person("Ana").get("/runs")).split())
    assert "Right of the doubtful, by week" in page
    weeks = page.partition("The weeks as a table")[2]
    assert re.match(r" Week from Right of the doubtful \S+ 0.0 % \(0 of 1;", weeks)


def test_of_a_model_that_accepts_nothing_the_runs_say_so(
    desk: Desk, make_client: Callable[..., FlaskClient], accepting_nothing: Path
) -> None:
    client = make_client(database_url=desk.url, model_dir=accepting_nothing)
    desk.add("a", model=Engine(accepting_nothing / "fashion-mnist").card.identity)
    desk.decide("a")
    page = Person(client.application.test_client(), "Ana").get("/runs")
    assert "It accepts no answer now." in page
    assert "200" not in re.sub(r"<[^>]*>", "", page)
