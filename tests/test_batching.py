"""Small requests of the same moment, worked on together."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from flask import Flask, request

from garments.engine import Answer, Choice
from garments.web.access_log import RequestRecord
from garments.web.batching import Group, ask
from garments.web.deadline import UNTIL
from garments.web.problems import Refusal


@dataclass
class Engine:
    """Says of each picture which shade it has; remembers how many it was asked for at a time."""

    runs: list[int] = field(default_factory=list)

    def predict(self, pictures: npt.NDArray[np.uint8], top: int) -> list[Answer]:
        self.runs.append(len(pictures))
        if np.any(pictures == 255):
            raise ValueError("too bright")
        choices = [[Choice(int(p.max()) + n, "", 0.5) for n in range(top)] for p in pictures]
        return [Answer(tuple(some), "accept") for some in choices]


def pictures(*shades: int) -> npt.NDArray[np.uint8]:
    return np.array(shades, np.uint8)[:, None, None, None]


def working(group: Group, work: Callable[[], Any]) -> Awaitable[Any]:
    """`work`, given to a group as what is to be done for a request."""
    return group.work(lambda _: work(), {}, RequestRecord("POST", "/", "", None))


def together(*works: Callable[[], Any], longest: int = 64, seconds: float = 10) -> list[Any]:
    """What became of `works` that came at the same moment."""

    async def inside() -> list[Any]:
        group = Group(longest, seconds, lambda: None)
        asked = (working(group, work) for work in works)
        return await asyncio.gather(*asked, return_exceptions=True)

    return asyncio.run(inside())


def shades(answers: list[Answer]) -> list[tuple[int, ...]]:
    return [tuple(choice.prediction for choice in answer.top) for answer in answers]


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have all requests of a moment begun, however slow or busy this machine is."""
    monkeypatch.setattr("garments.web.batching._SECONDS_TO_BEGIN", 10)


@pytest.mark.usefixtures("unhurried")
def test_requests_of_one_moment_are_answered_by_one_run_and_each_gets_its_own() -> None:
    engine: Any = Engine()
    found = together(
        lambda: shades(ask(engine, pictures(1), 1)),
        lambda: shades(ask(engine, pictures(20, 30), 3)),
        lambda: "asks nothing",
        lambda: shades(ask(engine, pictures(4), 2)),
    )
    assert found == [[(1,)], [(20, 21, 22), (30, 31, 32)], "asks nothing", [(4, 5)]]
    assert engine.runs == [4]


def test_each_model_is_asked_for_its_own_pictures() -> None:
    small, photo = Engine(), Engine()

    def both() -> list[Any]:
        return [shades(ask(small, pictures(7), 1)), shades(ask(photo, pictures(8), 1))]  # type: ignore[arg-type]

    found = together(both, both, lambda: shades(ask(photo, pictures(9), 1)))  # type: ignore[arg-type]
    assert found == [[[(7,)], [(8,)]], [[(7,)], [(8,)]], [(9,)]]
    assert (small.runs, sorted(photo.runs)) == ([2], [1, 2])


def test_a_model_that_fails_fails_those_who_asked_it_and_no_other() -> None:
    good, bad = Engine(), Engine()
    found = together(
        lambda: ask(bad, pictures(255), 1),  # type: ignore[arg-type]
        lambda: ask(bad, pictures(3), 1),  # type: ignore[arg-type]
        lambda: shades(ask(good, pictures(3), 1)),  # type: ignore[arg-type]
    )
    assert [str(each) for each in found[:2]] == ["too bright"] * 2
    assert found[2] == [(3,)]


def test_work_that_fails_harms_no_other() -> None:
    engine: Any = Engine()
    found = together(lambda: 1 / 0, lambda: shades(ask(engine, pictures(3), 1)))
    assert isinstance(found[0], ZeroDivisionError)
    assert found[1] == [(3,)]


@pytest.mark.usefixtures("unhurried")
def test_every_request_keeps_its_own_context() -> None:
    engine: Any = Engine()
    app = Flask("world")

    def view(name: str) -> tuple[str, str]:
        with app.test_request_context(f"/{name}"):
            before = request.path
            ask(engine, pictures(1), 1)
            return before, request.path

    found = together(*[lambda name=name: view(name) for name in "abc"])  # type: ignore[misc]
    assert found == [(f"/{name}", f"/{name}") for name in "abc"]
    assert engine.runs == [3]


def test_outside_of_a_group_the_model_is_asked_at_once() -> None:
    engine: Any = Engine()
    assert shades(ask(engine, pictures(5), 1)) == [(5,)]
    assert engine.runs == [1]


@pytest.mark.usefixtures("unhurried")
def test_no_more_than_sixteen_are_worked_on_together() -> None:
    engine: Any = Engine()
    found = together(*[lambda: shades(ask(engine, pictures(5), 1))] * 40)
    assert found == [[(5,)]] * 40
    assert engine.runs == [16, 16, 8]


@pytest.mark.usefixtures("unhurried")
def test_whoever_watches_the_line_hears_after_each_group_how_many_still_wait() -> None:
    heard: list[int] = []

    async def inside() -> None:
        group = Group(64, 10, lambda: heard.append(len(group)))
        await asyncio.gather(*[working(group, lambda: "done") for _ in range(40)])

    asyncio.run(inside())
    assert heard == [24, 8, 0]


def test_after_a_slow_one_no_other_is_begun_before_it_is_answered() -> None:
    engine: Any = Engine()

    def slow() -> Any:
        time.sleep(0.02)
        return ask(engine, pictures(1), 1)

    together(slow, slow, slow)
    assert engine.runs == [1, 1, 1]


def test_who_has_waited_too_long_is_refused() -> None:
    found = together(lambda: time.sleep(0.05), lambda: "done", seconds=0.04)
    assert found[0] is None
    assert isinstance(found[1], Refusal)
    assert found[1].code == "out_of_time"


def test_beyond_the_longest_line_all_are_refused() -> None:
    found = together(*[lambda: "done"] * 5, longest=3)
    assert found[:3] == ["done"] * 3
    assert [each.code for each in found[3:]] == ["busy"] * 2


def test_who_would_wait_for_more_than_half_of_its_time_is_refused_at_once() -> None:
    async def inside() -> tuple[list[Any], float]:
        group = Group(64, 0.4, lambda: None)
        slow = [asyncio.ensure_future(working(group, lambda: time.sleep(0.01))) for _ in range(40)]
        await asyncio.sleep(0.1)  # it knows by now that each takes ten milliseconds
        started = time.monotonic()
        late = asyncio.ensure_future(working(group, lambda: "late"))
        with pytest.raises(Refusal, match="too many requests"):
            await late
        refused = time.monotonic() - started
        found = await asyncio.gather(*slow, return_exceptions=True)
        return [*found, await working(group, lambda: "in time")], refused

    found, refused = asyncio.run(inside())
    assert refused < 0.05
    assert found[-1] == "in time"


def test_hours_in_which_nobody_asks_do_not_count_as_time_that_a_request_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr("garments.web.batching.time.monotonic", lambda: now)

    async def inside() -> list[str]:
        nonlocal now
        group = Group(64, 10, lambda: None)
        for _ in range(2):
            await working(group, lambda: "done")
            now += 3600
        return await asyncio.gather(*[working(group, lambda: "done") for _ in range(2)])

    assert asyncio.run(inside()) == ["done"] * 2


def test_a_pause_of_the_process_lets_nobody_wait_for_less_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr("garments.web.batching.time.monotonic", lambda: now)

    def paused() -> str:
        nonlocal now
        now += 600
        return "done"

    async def inside() -> list[str]:
        group = Group(64, 10_000, lambda: None)
        works = [*[lambda: "done"] * 10, paused, *[lambda: "done"] * 20]
        await asyncio.gather(*[working(group, work) for work in works])
        return await asyncio.gather(*[working(group, lambda: "done") for _ in range(64)])

    assert asyncio.run(inside()) == ["done"] * 64


def test_who_is_gone_is_passed_over() -> None:
    done: list[str] = []

    async def inside() -> None:
        group = Group(64, 10, lambda: None)
        gone = asyncio.ensure_future(working(group, lambda: done.append("gone")))
        stays = asyncio.ensure_future(working(group, lambda: done.append("stays")))
        await asyncio.sleep(0)
        gone.cancel()
        await stays
        with pytest.raises(asyncio.CancelledError):
            await gone

    asyncio.run(inside())
    assert done == ["stays"]


def test_a_request_is_told_how_long_it_waited_and_until_when_it_must_be_answered() -> None:
    record, environ = RequestRecord("POST", "/", "", None), dict[str, Any]()

    async def inside() -> float:
        group = Group(64, 10, lambda: None)
        before = asyncio.ensure_future(working(group, lambda: time.sleep(0.03)))
        after = group.work(lambda told: float(told[UNTIL]), environ, record)
        until, _ = await asyncio.gather(after, before)
        return until - time.monotonic()

    left = asyncio.run(inside())
    assert 9 < left < 10 - 0.03
    assert record.waited is not None
    assert 0.03 <= record.waited < 1
