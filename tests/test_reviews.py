"""People before the queue: what each gets, what is kept of what they say, and what is refused."""

import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from hypothesis import HealthCheck
from hypothesis import settings as how
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from garments.store import Database, Stamp, Store, database
from garments.store.archived import Archived
from garments.store.desk import Desk as RealDesk
from garments.store.nights import REPORTS, Nights, Packer
from garments.store.queue import LEASE_SECONDS, Queue, rank
from garments.store.reviews import Decided, Decision, Reviews, Unknown
from garments.store.tables import reviews, runs
from tests.conftest import PROJECT
from tests.test_store import HERE, MODEL, answer, digest, photo


class Desk(RealDesk):
    """One with photos that wait, and a clock that stands."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.url = url
        self.now = 1_000_000.0
        self.queue = Queue(self.database, lambda: self.now)
        self.store = Store(url)
        self.store.open()

    def add(self, *contents: str, kind: str = "doubtful", **changes: object) -> None:
        """Put photos of these contents, in this order, into the queue."""
        run = self.store.runs.begin(HERE)
        said = {"decision": "review", "thumbnail": b"small", **changes}
        self.store.record(
            run,
            HERE,
            [photo(content.encode(), content) for content in contents],
            [answer(content, **said) for content in contents],
        )
        places = [
            (content.encode(), rank(kind, number / 1000)) for number, content in enumerate(contents)
        ]
        self.store.wait(HERE, places)

    def taken(
        self, tab: str, most: int = 1, who: str = "Ana", kind: str | None = None
    ) -> list[str]:
        """The names of what a tab gets."""
        return [item.name.decode() for item in self.queue.take(tab, who, most, kind)]

    def decide(
        self, content: str, answer: int | None = 3, who: str = "Ana", request: str = ""
    ) -> int:
        decision = Decision(request or f"{who} {content} {answer}", digest(content), answer, who)
        return self.reviews.decide(decision).id

    def close(self) -> None:
        self.store.close()
        self.database.close()


@pytest.fixture
def desk(database_url: str) -> Iterator[Desk]:
    desk = Desk(database_url)
    yield desk
    desk.close()


# Who gets what


def test_the_most_doubtful_comes_first(desk: Desk) -> None:
    desk.add("s", kind="sample", decision="accept")
    desk.add("w", kind="wrong", decision="accept")
    desk.add("a", "b")
    assert desk.taken("tab", 9) == ["a", "b", "w", "s"]
    desk.now += LEASE_SECONDS
    assert desk.taken("other", 9, kind="wrong") == ["w"]


@pytest.mark.parametrize("last", ["m@2", "a@1"])  # by its name after the first, and before it
def test_an_item_says_what_the_last_model_said(last: str, desk: Desk) -> None:
    desk.add("a")
    run = desk.store.runs.begin(HERE)
    desk.store.record(run, HERE, [], [answer("a", model=last, label="Coat")])
    desk.store.expect(1, HERE, [(b"a", 4)])
    (item,) = desk.queue.take("tab", "Ana", 1)
    assert (item.kind, item.expected, item.label) == ("doubtful", 4, "Coat")
    assert (item.directory, item.top) == (HERE, [["Dress", 0.9], ["Coat", 0.1]])
    assert desk.queue.thumbnail(item.digest) == b"small"


def test_an_item_and_a_decision_say_what_the_model_said_that_the_last_night_went_back_to(
    desk: Desk,
) -> None:
    desk.add("a", "b")
    second = desk.store.runs.begin(HERE, "m@2")
    both = [answer(name, model="m@2", label="Coat") for name in "ab"]
    desk.store.record(second, HERE, [], both)
    desk.store.runs.begin(HERE, MODEL)  # which knows the answers, and asks nothing
    Archived(desk.database, b"/archive").follow(HERE, {b"a": b"a"})
    assert [item.label for item in desk.queue.take("tab", "Ana", 2)] == ["Dress", "Dress"]
    desk.store.runs.begin(b"/elsewhere", "m@2")
    assert [item.label for item in desk.queue.take("tab", "Ana", 2)] == ["Coat", "Dress"]
    desk.decide("b")
    (review,) = desk.reviews.standing()
    assert review.model == MODEL


def test_a_decision_names_the_one_of_several_models_that_answered(desk: Desk) -> None:
    desk.add("a", model="m@1+n@1", answered_by="n@1")
    desk.decide("a")
    (review,) = desk.reviews.standing()
    assert review.model == "n@1"


def test_an_item_whose_likeliest_classes_were_not_kept_has_none(desk: Desk) -> None:
    desk.add("a", top=None)
    (item,) = desk.queue.take("tab", "Ana", 1)
    assert item.top == []


def test_what_no_model_could_read_is_not_shown(desk: Desk) -> None:
    desk.add("a", decision="unreadable", prediction=None)
    desk.add("b")
    assert desk.taken("tab", 9) == ["b"]


def test_what_the_last_model_could_not_read_is_shown_as_the_one_before_read_it(desk: Desk) -> None:
    desk.add("a")
    blind = answer("a", model="m@2", decision="unreadable", prediction=None, label=None)
    desk.store.record(desk.store.runs.begin(HERE), HERE, [], [blind])
    (item,) = desk.queue.take("tab", "Ana", 1)
    assert (item.prediction, item.label) == (3, "Dress")


def test_the_thumbnail_is_the_last_that_was_kept(desk: Desk) -> None:
    desk.add("a")
    for model, small in (("m@2", b"later"), ("m@3", None)):
        given = [answer("a", model=model, thumbnail=small)]
        desk.store.record(desk.store.runs.begin(HERE), HERE, [], given)
    assert desk.queue.thumbnail(digest("a")) == b"later"


def test_what_one_has_nobody_else_gets(desk: Desk) -> None:
    desk.add("a", "b", "c")
    assert desk.taken("one", 2) == ["a", "b"]
    assert desk.taken("two", 2) == ["c"]
    assert desk.taken("one", 2) == ["a", "b"]


def test_a_tab_that_is_never_heard_of_again_keeps_nothing(desk: Desk) -> None:
    desk.add("a")
    assert desk.taken("one") == ["a"]
    desk.now += LEASE_SECONDS - 1
    assert desk.taken("two") == []
    desk.now += 1
    assert desk.taken("two") == ["a"]
    assert desk.taken("one") == []


def test_a_clock_that_was_ahead_keeps_nothing_from_anyone(desk: Desk) -> None:
    desk.add("a", "b")
    right = desk.now
    desk.now += 30 * 86_400
    assert desk.taken("one") == ["a"]
    assert desk.taken("two") == ["b"]
    desk.now = right
    assert desk.taken("two") == ["a"]
    assert desk.taken("one") == ["b"]


def test_a_service_whose_clock_is_a_little_behind_leaves_others_what_they_have(desk: Desk) -> None:
    desk.add("a")
    assert desk.taken("one") == ["a"]
    desk.now -= 60
    assert desk.taken("two") == []


def test_whoever_asks_for_more_keeps_what_they_have(desk: Desk) -> None:
    desk.add("a")
    for _ in range(5):
        assert desk.taken("one") == ["a"]
        desk.now += LEASE_SECONDS - 1
    assert desk.taken("two") == []


def test_a_tab_keeps_what_it_has_when_what_is_ahead_of_it_comes_free(desk: Desk) -> None:
    desk.add(*"abcdef")
    assert desk.taken("two", 2) == ["a", "b"]
    assert desk.taken("one", 2) == ["c", "d"]
    desk.queue.release("two", [digest("a"), digest("b")])
    for _ in range(3):
        desk.now += LEASE_SECONDS - 1
        assert desk.taken("one", 2) == ["c", "d"]
    assert desk.taken("two", 9) == ["a", "b", "e", "f"]


def test_a_tab_of_one_kind_keeps_what_it_took_back_of_another(desk: Desk) -> None:
    desk.add("a")
    desk.add("w", kind="wrong", decision="accept")
    desk.reviews.undo(desk.decide("a"), "Ana")
    assert desk.queue.claim("one", digest("a")) is not None
    for _ in range(3):
        desk.now += LEASE_SECONDS - 1
        assert desk.taken("one", 2, kind="wrong") == ["w", "a"]
    assert desk.taken("two") == []


def test_a_tab_that_has_more_than_it_asks_for_keeps_all(desk: Desk) -> None:
    desk.add("a", "b", "c")
    assert desk.taken("one", 3) == ["a", "b", "c"]
    desk.now += LEASE_SECONDS - 1
    assert desk.taken("one", 2) == ["a", "b"]
    desk.now += 1
    assert desk.taken("two", 3) == []


def test_what_is_released_is_there_for_others(desk: Desk) -> None:
    desk.add("a", "b", "c")
    until = [item.until for item in desk.queue.take("one", "Ana", 3)]
    desk.queue.release("one", [digest("a")])
    desk.queue.release("three", [digest("b")])  # which is not theirs
    desk.queue.release("one", [digest("c")], until[2])
    assert desk.taken("two", 3) == ["a", "c"]


def test_what_is_skipped_comes_again_at_the_end(desk: Desk) -> None:
    desk.add("a", "b")
    desk.taken("one")
    desk.queue.skip("one", "Ana", digest("a"))
    assert desk.taken("one") == ["b"]
    assert desk.taken("two", who="Ben") == ["a"]
    desk.queue.release("two", [digest("a")])
    assert desk.taken("one", 2) == ["b", "a"]


def test_what_one_skips_comes_to_others_in_its_turn(desk: Desk) -> None:
    desk.add("a", "b")
    desk.taken("one")
    desk.queue.skip("one", "Ana", digest("a"))
    assert desk.taken("two", who="Ben") == ["a"]


def test_what_one_skipped_and_decided_on_after_all_comes_in_its_turn_when_taken_back(
    desk: Desk,
) -> None:
    desk.add("a", "b")
    desk.queue.skip("one", "Ana", digest("a"))
    desk.reviews.undo(desk.decide("a"), "Ana")
    assert desk.taken("one", 2) == ["a", "b"]


def test_what_one_decided_on_and_took_back_is_there_for_others(desk: Desk) -> None:
    desk.add("a")
    desk.taken("one")
    desk.reviews.undo(desk.decide("a"), "Ana")
    assert desk.taken("two", who="Ben") == ["a"]


def test_a_content_with_several_files_is_looked_at_once(desk: Desk) -> None:
    desk.add("a", "b")
    desk.store.record(desk.store.runs.begin(HERE), HERE, [photo(b"twin", "a")], [])
    desk.store.wait(HERE, [(b"twin", rank("doubtful", 0.0))])
    assert desk.taken("tab", 9) == ["a", "b"]
    assert desk.queue.progress("Ana").left == {"doubtful": 2, "wrong": 0, "sample": 0}
    desk.decide("a")
    assert desk.taken("tab", 9) == ["b"]


def test_more_than_a_handful_of_twins_hide_nothing_behind_them(desk: Desk) -> None:
    desk.add("a", "b")
    twins = [photo(b"twin %d" % number, "a") for number in range(60)]
    desk.store.record(desk.store.runs.begin(HERE), HERE, twins, [])
    desk.store.wait(HERE, [(twin.name, 0.0) for twin in twins])
    assert desk.taken("tab", 2) == ["a", "b"]


def test_a_photo_that_is_forgotten_or_changed_waits_no_more(desk: Desk) -> None:
    desk.add("a", "b", "c")
    desk.store.forget(HERE, [b"a"])
    desk.store.record(desk.store.runs.begin(HERE), HERE, [photo(b"b", "new")], [answer("new")])
    desk.store.record(desk.store.runs.begin(HERE), HERE, [photo(b"c", "c")], [])
    assert desk.taken("tab", 9) == ["c"]


def test_a_photo_that_moves_elsewhere_keeps_its_place(desk: Desk) -> None:
    desk.add("a", "b", "c")
    desk.store.wait(HERE, [(b"c", None)])
    desk.store.expect(1, HERE, [(b"b", 4)])
    moved = {name: b"old/" + name for name in (b"a", b"b", b"c")}
    for _ in range(2):
        Archived(desk.database, b"/there").follow(HERE, moved)
        items = desk.queue.take("tab", "Ana", 9)
        assert [(item.directory, item.name) for item in items] == [
            (b"/there", b"old/a"),
            (b"/there", b"old/b"),
        ]
        assert items[1].expected == 4
        assert desk.queue.progress("Ana").left["doubtful"] == 2
        desk.store.wait(HERE, [(b"a", 0), (b"b", 0.1)])  # the night was cut short, and begins again
    desk.store.forget(HERE, list(moved))
    assert desk.taken("tab", 9) == ["old/a", "old/b"]


def test_what_waits_for_nobody_leaves_no_trace_in_the_archive(desk: Desk) -> None:
    desk.add("a", "b")
    desk.store.wait(HERE, [(b"b", None)])
    Archived(desk.database, b"/there").follow(HERE, {b"a": b"a", b"b": b"b"})
    assert [known.name for known in desk.store.known(b"/there", MODEL)] == [b"a"]


def test_a_photo_that_moves_again_waits_as_it_did_last(desk: Desk) -> None:
    desk.add("a")
    archived = Archived(desk.database, b"/there")
    archived.follow(HERE, {b"a": b"a"})
    desk.store.expect(1, HERE, [(b"a", 4)])
    desk.store.wait(HERE, [(b"a", rank("wrong", 0.5))])
    archived.follow(HERE, {b"a": b"a"})
    (item,) = desk.queue.take("tab", "Ana", 9)
    assert (item.directory, item.kind, item.expected) == (b"/there", "wrong", 4)


def test_a_name_that_is_taken_elsewhere_is_free_in_the_archive(desk: Desk) -> None:
    desk.add("a")
    run = desk.store.runs.begin(b"/zoo")
    desk.store.record(run, b"/zoo", [photo(b"a", "another")], [answer("another")])
    Archived(desk.database, b"/there").follow(HERE, {b"a": b"a"})
    assert desk.taken("tab", 9) == ["a"]


def test_a_photo_does_not_take_the_place_of_another_of_its_name(desk: Desk) -> None:
    archived = Archived(desk.database, b"/there")
    for content in ("one", "another"):
        run = desk.store.runs.begin(HERE)
        said = [answer(content, decision="review", thumbnail=b"small")]
        desk.store.record(run, HERE, [photo(b"a.png", content)], said)
        desk.store.wait(HERE, [(b"a.png", rank("doubtful", 0.5))])
        archived.follow(HERE, {b"a.png": b"a.png"})
    mark = digest("another").hex()[:12]
    assert sorted(desk.taken("tab", 9)) == [f"a-{mark}.png", "a.png"]


def test_what_was_answered_leaves_the_archive_when_nobody_takes_it_back_any_more(
    desk: Desk,
) -> None:
    desk.add("a", "b", "c")
    archived = Archived(desk.database, b"/there")
    archived.follow(HERE, {b"a": b"a", b"b": b"b", b"c": b"c"})

    def known(directory: bytes) -> list[bytes]:
        return [known.name for known in desk.store.known(directory, MODEL)]

    desk.decide("a")
    desk.reviews.undo(desk.decide("c"), "Ana")
    archived.drop_answered()
    assert known(b"/there") == [b"a", b"b", b"c"]
    settle(desk.database)
    archived.drop_answered()
    assert known(b"/there") == [b"b", b"c"]
    assert known(HERE) == [b"a", b"b", b"c"]  # which is for a night to forget


@pytest.mark.parametrize(("days", "there"), [(6.9, [b"a"]), (7.1, [])])
def test_that_is_a_week_after_the_answer(days: float, there: list[bytes], desk: Desk) -> None:
    desk.add("a")
    archived = Archived(desk.database, b"/there")
    archived.follow(HERE, {b"a": b"a"})
    desk.decide("a")
    settle(desk.database, days)
    archived.drop_answered()
    assert [known.name for known in desk.store.known(b"/there", MODEL)] == there


def test_so_does_what_was_answered_in_the_archive_of_a_day_before(desk: Desk) -> None:
    desk.add("a", "b")
    Archived(desk.database, b"/2026-11-27").follow(HERE, {b"a": b"a", b"b": b"b"})
    desk.decide("a")
    settle(desk.database)
    Archived(desk.database, b"/2026-11-28").drop_answered()
    assert [known.name for known in desk.store.known(b"/2026-11-27", MODEL)] == [b"b"]


def test_but_not_where_nights_sort_what_others_archive_to(desk: Desk) -> None:
    desk.add("a")
    desk.decide("a")
    settle(desk.database)
    Archived(desk.database, HERE).drop_answered()
    assert [known.name for known in desk.store.known(HERE, MODEL)] == [b"a"]


def settle(database: Database, days: float = 8) -> None:
    """Make what people have said so old that nobody takes it back any more."""
    with database.writing() as connection:
        long_ago = datetime.now(timezone.utc) - timedelta(days=days)
        connection.execute(sa.update(reviews).values(at=long_ago))


def test_a_place_is_read_as_it_was_written(desk: Desk) -> None:
    desk.add("a")
    desk.store.wait(HERE, [(b"a", 0.1 + 0.2)])
    (outcome,) = desk.store.outcomes(HERE, MODEL)
    assert outcome.waiting == 0.1 + 0.2  # else every night would write it again


def test_the_progress_counts_what_is_left_and_the_last_hour(desk: Desk) -> None:
    desk.add("a", "b", "c", "d", "e")
    desk.decide("e")
    with desk.database.writing() as connection:
        long_ago = datetime.now(timezone.utc) - timedelta(minutes=61)
        connection.execute(sa.update(reviews).values(at=long_ago))
    desk.decide("a")
    desk.decide("b", who="Ben")
    desk.reviews.undo(desk.decide("c"), "Ana")
    progress = desk.queue.progress("Ana")
    assert (progress.left["doubtful"], progress.hour, progress.own) == (2, 2, 1)


# What is kept


def test_a_decision_is_kept_with_what_the_model_had_said(desk: Desk) -> None:
    desk.add("a", confidence=0.4)
    desk.store.expect(1, HERE, [(b"a", 4)])
    desk.decide("a", 8)
    (review,) = desk.reviews.recent(9)
    assert (review.answer, review.who, review.kind) == (8, "Ana", "doubtful")
    assert (review.directory, review.name, review.expected) == (HERE, b"a", 4)
    assert (review.model, review.prediction, review.confidence) == (MODEL, 3, 0.4)
    assert review.at.utcoffset() == timedelta(0)


def test_a_decision_names_the_file_that_was_the_first_in_the_queue(desk: Desk) -> None:
    desk.add("a")
    desk.store.record(desk.store.runs.begin(HERE), HERE, [photo(b"twin", "a")], [])
    places = [(b"a", rank("doubtful", 0.5)), (b"twin", rank("doubtful", 0.1))]
    desk.store.wait(HERE, places)
    desk.decide("a")
    (review,) = desk.reviews.standing()
    assert review.name == b"twin"


def test_a_decision_that_is_sent_again_is_the_same_one(desk: Desk) -> None:
    desk.add("a")
    assert desk.decide("a", request="r") == desk.decide("a", request="r")
    assert len(desk.reviews.recent(9)) == 1


def test_no_decision_overwrites_another(desk: Desk) -> None:
    desk.add("a")
    desk.taken("one")
    desk.now += LEASE_SECONDS
    desk.taken("two")
    desk.decide("a", 1, "Ben")
    with pytest.raises(Decided) as refused:
        desk.decide("a", 2, "Ana")
    assert (refused.value.review.who, refused.value.review.answer) == ("Ben", 1)
    assert [review.answer for review in desk.reviews.standing()] == [1]


def test_a_decision_that_comes_late_is_kept_if_nobody_was_first(desk: Desk) -> None:
    desk.add("a")
    desk.taken("one")
    desk.now += LEASE_SECONDS
    desk.taken("two")
    desk.store.forget(HERE, [b"a"])
    desk.decide("a", 1)
    (review,) = desk.reviews.standing()
    assert (review.answer, review.name) == (1, None)


def test_a_decision_names_a_photo_that_left_the_queue_and_is_still_there(desk: Desk) -> None:
    desk.add("a")
    desk.taken("one")
    desk.store.expect(1, HERE, [(b"a", 4)])
    desk.store.wait(HERE, [(b"a", None)])
    desk.decide("a", 1)
    (review,) = desk.reviews.standing()
    assert (review.directory, review.name, review.expected) == (HERE, b"a", 4)


def test_what_waits_no_more_is_held_to_tell_of_nothing_but_itself(desk: Desk) -> None:
    desk.add("s", kind="sample", decision="accept")
    desk.add("d")
    desk.store.forget(HERE, [b"s", b"d"])
    for content in "sd":
        desk.decide(content, 1)
    assert [review.kind for review in desk.reviews.standing()] == ["wrong", "doubtful"]


def test_what_no_model_has_seen_cannot_be_decided(desk: Desk) -> None:
    with pytest.raises(Unknown, match="no model has answered"):
        desk.decide("never seen")


def test_what_is_taken_back_waits_again_and_can_be_decided_anew(desk: Desk) -> None:
    desk.add("a", "b")
    number = desk.decide("a", 1)
    assert desk.reviews.undo(number, "Ana") == digest("a")
    undone = when_undone(desk.database)
    assert desk.reviews.undo(number, "Ana") == digest("a")  # as when the answer was lost
    assert when_undone(desk.database) == undone
    assert not [outcome for outcome in desk.store.outcomes(HERE, MODEL) if outcome.reviewed]
    assert desk.queue.claim("one", digest("a")) is not None
    assert desk.queue.claim("two", digest("a")) is None
    desk.decide("a", 2)
    assert [review.answer for review in desk.reviews.standing()] == [2]
    assert [review.answer for review in desk.reviews.recent(9)] == [2]
    with pytest.raises(Decided) as refused:
        desk.decide("a", 3, "Ben")
    assert refused.value.review.answer == 2
    with desk.database.reading() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM reviews")) == 2


def test_what_is_settled_is_not_taken_back_any_more(desk: Desk) -> None:
    desk.add("a", "b")
    archived = Archived(desk.database, b"/there")
    archived.follow(HERE, {b"a": b"a", b"b": b"b"})
    settled, undone = desk.decide("a"), desk.decide("b")
    assert desk.reviews.undo(undone, "Ana") == digest("b")
    settle(desk.database)
    archived.drop_answered()
    with pytest.raises(Unknown, match="too long ago to be taken back"):
        desk.reviews.undo(settled, "Ana")
    assert desk.reviews.undo(undone, "Ana") == digest("b")
    assert [review.id for review in desk.reviews.standing()] == [settled]


def test_a_person_is_offered_to_take_back_only_what_is_not_settled(desk: Desk) -> None:
    desk.add("a", "b")
    desk.decide("a")
    settle(desk.database)
    assert desk.reviews.latest("Ana", 9) == []
    number = desk.decide("b")
    assert desk.reviews.latest("Ana", 9) == [number]


def when_undone(database: Database) -> list[datetime | None]:
    with database.reading() as connection:
        return list(connection.scalars(sa.select(reviews.c.undone)))


def test_nobody_takes_back_what_another_has_said(desk: Desk) -> None:
    desk.add("a")
    number = desk.decide("a", who="Ana")
    with pytest.raises(Unknown, match="no such decision of yours"):
        desk.reviews.undo(number, "Ben")
    assert desk.reviews.latest("Ana", 9) == [number]
    assert desk.reviews.latest("Ben", 9) == []


def test_an_answer_is_for_the_content_whatever_model_comes(desk: Desk) -> None:
    desk.add("a")
    desk.decide("a", 7)
    newer = replace(answer("a"), model="m@2", decision="accept")
    desk.store.record(desk.store.runs.begin(HERE), HERE, [photo(b"a", "a")], [newer])
    for model, told in ((MODEL, MODEL), ("m@2", "m@2"), ("m@3", MODEL)):
        (outcome,) = desk.store.outcomes(HERE, model)
        assert (outcome.reviewed, outcome.answer, outcome.model) == (True, 7, told)


def test_standing_decisions_are_all_read(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("garments.store.reviews._PAGE", 3)
    names = [f"{number}" for number in range(7)]
    desk.add(*names)
    numbers = [desk.decide(name) for name in names]
    assert [review.id for review in desk.reviews.standing()] == numbers


# Several at once


def test_two_hundred_photos_for_four_people_at_once(desk: Desk) -> None:
    names = {f"{number:03}" for number in range(200)}
    desk.add(*sorted(names))

    def work(who: str) -> list[str]:
        database = Database(desk.url, durable=True)
        queue, reviews, done = Queue(database), Reviews(database), []
        while items := queue.take(who, who, 3):
            for item in items:
                name = item.name.decode()
                reviews.decide(Decision(f"{who} {name}", item.digest, 1, who))
                done.append(name)
        database.close()
        return done

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(work, ("Ana", "Ben", "Cid", "Dee")))
    assert sorted(name for some in done for name in some) == sorted(names)
    assert sum(1 for _ in desk.reviews.standing()) == 200


def test_people_who_passed_over_different_photos_do_not_stand_in_each_others_way(
    desk: Desk,
) -> None:
    desk.add("a", "b")
    desk.queue.skip("tab-Ana", "Ana", digest("a"))

    def work(who: str) -> None:
        database = Database(desk.url)
        queue = Queue(database)
        for _ in range(60):
            queue.take(f"tab-{who}", who, 2)
            queue.release(f"tab-{who}", [digest("a"), digest("b")])
        database.close()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, ("Ana", "Ben")))
    assert sorted(desk.taken("one", 2)) == ["a", "b"]


def test_of_many_who_decide_on_one_photo_at_once_one_is_kept(desk: Desk) -> None:
    desk.add("a")

    def decide(number: int) -> int | None:
        database = Database(desk.url)
        try:
            decision = Decision(f"{number}", digest("a"), number, f"{number}")
            return Reviews(database).decide(decision).answer
        except Decided:
            return None
        finally:
            database.close()

    with ThreadPoolExecutor(8) as pool:
        kept = [answer for answer in pool.map(decide, range(8)) if answer is not None]
    assert [review.answer for review in desk.reviews.standing()] == kept


@pytest.mark.parametrize("quicker", ["takes", "decides"])
def test_what_another_takes_or_decides_on_after_it_was_found_is_not_had(
    quicker: str, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.add("a")
    leased = desk.queue._leased
    decision = Decision("request", digest("a"), 3, "Ben")

    def late(connection: sa.Connection, found: bytes, tab: str, now: float) -> bool:
        if quicker == "takes":
            assert leased(connection, found, "two", now)
        else:
            row = Reviews._row(connection, decision)
            connection.execute(sa.insert(reviews).values(row))
        return leased(connection, found, tab, now)

    monkeypatch.setattr(desk.queue, "_leased", late)
    assert desk.taken("one") == []


DECIDER = textwrap.dedent("""
    import sys
    from garments.store import Database
    from garments.store.queue import Queue
    from garments.store.reviews import Decision, Reviews
    database = Database(sys.argv[1], durable=True)
    queue, reviews = Queue(database), Reviews(database)
    while items := queue.take("tab", "Ana", 1):
        name = items[0].name.decode()
        print("begins", name, flush=True)
        reviews.decide(Decision(name, items[0].digest, 1, "Ana"))
        print("kept", name, flush=True)
""")


def test_a_kill_in_the_middle_of_a_decision_loses_nothing_that_was_told(desk: Desk) -> None:
    names = [f"{number:03}" for number in range(300)]
    desk.add(*names)
    told: list[str] = []
    for pause in (0.0, 0.005, 0.02):
        command = [sys.executable, "-c", DECIDER, desk.url]
        with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(pause)
            process.send_signal(signal.SIGKILL)
            told += [line.split()[1] for line in process.stdout if line.startswith("kept")]
    kept = [str(review.name, "ascii") for review in desk.reviews.standing() if review.name]
    assert set(told) <= set(kept)
    desk.now = time.time() + LEASE_SECONDS
    assert desk.taken("two", 300) == [name for name in names if name not in kept]


class People(RuleBasedStateMachine):
    """Two tabs that do whatever they like: nothing is with both, lost or decided twice."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.desk = Desk(f"sqlite:///{self.folder.name}/p.db")
        self.names = [f"{number}" for number in range(5)]
        self.desk.add(*self.names)
        self.answers: dict[str, int] = {}
        self.numbers: dict[str, int] = {}
        self.has: dict[str, dict[str, float]] = {"Ana": {}, "Ben": {}}

    @rule(tab=st.sampled_from(["Ana", "Ben"]), most=st.integers(1, 3))
    def take(self, tab: str, most: int) -> None:
        taken = self.desk.taken(tab, most, tab)
        (other,) = {"Ana", "Ben"} - {tab}
        live = {n for n, until in self.has[other].items() if until > self.desk.now}
        assert not live & set(taken)
        assert not self.answers.keys() & set(taken)
        assert len(taken) == min(most, len(set(self.names) - live - self.answers.keys()))
        own = {n for n, until in self.has[tab].items() if until > self.desk.now}
        assert own <= set(taken) or set(taken) < own
        self.has[tab].update(dict.fromkeys(own | set(taken), self.desk.now + LEASE_SECONDS))
        for name in taken:
            self.has[other].pop(name, None)

    @rule(
        tab=st.sampled_from(["Ana", "Ben"]), name=st.sampled_from("01234"), answer=st.integers(0, 9)
    )
    def decide(self, tab: str, name: str, answer: int) -> None:
        request = f"{time.monotonic_ns()}"
        if name in self.answers:
            with pytest.raises(Decided) as refused:
                self.desk.decide(name, answer, tab, request)
            assert refused.value.review.answer == self.answers[name]
            return
        self.numbers[name] = self.desk.decide(name, answer, tab, request)
        self.answers[name] = answer
        for had in self.has.values():
            had.pop(name, None)

    @precondition(lambda self: self.numbers)
    @rule(data=st.data())
    def undo(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.numbers)))
        number = self.numbers[name]
        who = next(r.who for r in self.desk.reviews.standing() if r.id == number)
        self.desk.reviews.undo(number, who)
        del self.numbers[name], self.answers[name]

    @rule(tab=st.sampled_from(["Ana", "Ben"]), name=st.sampled_from("01234"))
    def skip(self, tab: str, name: str) -> None:
        self.desk.queue.skip(tab, tab, digest(name))
        self.has[tab].pop(name, None)

    @rule(seconds=st.sampled_from([1.0, LEASE_SECONDS]))
    def wait(self, seconds: float) -> None:
        self.desk.now += seconds

    @invariant()
    def what_stands_is_what_was_said(self) -> None:
        standing = {r.name.decode(): r.answer for r in self.desk.reviews.standing() if r.name}
        assert standing == self.answers

    def teardown(self) -> None:
        self.desk.close()
        self.folder.cleanup()


class TestPeople(People.TestCase):  # type: ignore[name-defined, misc]
    settings = how(
        max_examples=30,
        stateful_step_count=20,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


# Nights, and databases from before


def test_a_report_is_kept_for_so_many_nights(desk: Desk) -> None:
    for number in range(REPORTS + 2):
        packer = Packer()
        packer.add(f"<p>{number}")
        packer.add("ü")
        page = packer.packed()
        assert page is not None
        desk.store.runs.keep_report(desk.store.runs.begin(HERE), page)
    nights = Nights(desk.database)
    last = nights.last(REPORTS + 2)
    assert [run["report"] for run in last] == [False] * 2 + [True] * REPORTS
    assert nights.report(last[-1]["id"]) == f"<p>{REPORTS + 1}ü".encode()
    assert nights.report(last[0]["id"]) is None


def test_a_folder_that_is_sorted_often_leaves_another_its_report(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("garments.store.runs.REPORTS", 2)
    for directory in (HERE, *[b"/hourly"] * 3):
        packed = Packer().packed()
        assert packed is not None
        desk.store.runs.keep_report(desk.store.runs.begin(directory), packed)
    nights = Nights(desk.database)
    assert [run["report"] for run in nights.last(9)] == [True, False, True, True]
    assert [run["directory"] for run in nights.last(2, HERE)] == [HERE]


def test_a_report_is_kept_for_a_year_where_every_night_has_a_folder_of_its_own(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("garments.store.runs.REPORTS", 1)
    packed = Packer().packed()
    assert packed is not None
    for directory, days in ((b"/of-the-day-before", 367), (b"/of-that-day", 365), (HERE, 0)):
        run = desk.store.runs.begin(directory)
        then = datetime.now(timezone.utc) - timedelta(days=days)
        with desk.database.writing() as connection:
            connection.execute(runs.update().where(runs.c.id == run).values(started=then))
        desk.store.runs.keep_report(run, packed)
    assert [night["report"] for night in Nights(desk.database).last(9)] == [False, True, True]


def test_a_night_that_began_in_1970_by_its_clock_costs_no_report(desk: Desk) -> None:
    packed = Packer().packed()
    assert packed is not None
    for directory in (HERE, b"/elsewhere"):
        run = desk.store.runs.begin(directory)
        then = datetime(1970, 1, 1, tzinfo=timezone.utc)
        with desk.database.writing() as connection:
            connection.execute(runs.update().where(runs.c.id == run).values(started=then))
        desk.store.runs.keep_report(run, packed)
    assert [night["report"] for night in Nights(desk.database).last(9)] == [True, True]


def test_a_report_that_is_too_large_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("garments.store.nights._MOST_BYTES", 10)
    packer = Packer()
    for number in range(20_000):
        packer.add(f"{number} ")
    assert packer.packed() is None


OF_BEFORE = """
INSERT INTO runs (id, directory, host, process, started) VALUES (1, :here, 'h', 1, '2026-01-01')
INSERT INTO photos VALUES (:here, :name, 10, 20, 30, :digest, NULL, NULL, 1)
INSERT INTO answers (digest, model, run, decision) VALUES (:digest, 'm@1', 1, 'review')
"""


def test_a_database_from_before_reviews_opens_with_all_that_it_holds(database_url: str) -> None:
    old = Database(database_url)
    config = Config()
    config.set_main_option("script_location", str(database._MIGRATIONS))
    with old.writing() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
        values = {"here": HERE, "name": b"a", "digest": digest("a")}
        for statement in OF_BEFORE.strip().splitlines():
            wanted = {name: value for name, value in values.items() if f":{name}" in statement}
            connection.execute(sa.text(statement), wanted)
    old.close()
    store = Store(database_url)
    store.open()
    (outcome,) = store.outcomes(HERE, MODEL)
    assert (outcome.name, outcome.decision, outcome.reviewed) == (b"a", "review", False)
    assert list(store.known(HERE, MODEL)) == [(b"a", Stamp(10, 20, 30), 1)]
    store.close()


def test_what_people_say_is_on_the_disk_once_it_is_kept(tmp_path: Path) -> None:
    desk = RealDesk(f"sqlite:///{tmp_path}/p.db")
    desk.open()
    assert desk.reviews._database is desk.queue._database is desk.database
    with desk.database.connect() as connection:
        assert connection.scalar(sa.text("PRAGMA synchronous")) == 2  # FULL


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_server_that_started_anew_between_two_questions_is_asked_again(database_url: str) -> None:
    desk = RealDesk(database_url)
    desk.open()
    with psycopg.connect(database_url, autocommit=True) as other:
        other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND datname = current_database()"
        )
    assert desk.reviews.recent(1) == []
    desk.database.close()


def test_what_is_kept_by_a_durable_database_is_on_the_disk(tmp_path: Path) -> None:
    found = []
    for durable in (False, True):
        base = Database(f"sqlite:///{tmp_path}/p.db", durable=durable)
        with base.connect() as connection:
            found.append(connection.scalar(sa.text("PRAGMA synchronous")))
        base.close()
    assert found == [1, 2]  # NORMAL and FULL
