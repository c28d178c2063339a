"""What the RSGI application of a worker does with requests that a fake server hands to it."""

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import pytest
from flask import Flask, Response, request

from garments.settings import Settings
from garments.web.access_log import AccessLog
from garments.web.batching import TooMuch, others_wait
from garments.web.deadline import UNTIL
from garments.web.headers import DROPPED
from garments.web.lifecycle import Lifecycle
from garments.web.line import Line
from garments.web.metrics import Metrics
from garments.web.problems import Refusal, answer_errors_as_problems
from garments.web.rsgi import RsgiApp
from tests.test_access_log import lines

LARGE = 100_000


@dataclass
class Headers:
    pairs: list[tuple[str, str]]
    names: tuple[str, ...] = ()  # of headers without a value

    def __contains__(self, name: str) -> bool:
        return name in self.names or name in dict(self.pairs)

    def items(self) -> list[tuple[str, str]]:
        return self.pairs

    def get(self, name: str) -> str | None:
        return dict(self.pairs).get(name)


@dataclass
class Asked:
    """One request, as Granian hands it over, and what was answered."""

    body: list[bytes]
    headers: Headers
    method: str = "POST"
    path: str = "/work"
    query_string: str = ""
    client: str = "[::1]:4000"
    status: int = 0
    fields: dict[str, str] = field(default_factory=dict)
    content: bytes = b""
    read: int = 0

    async def __call__(self) -> bytes:
        return b"".join([chunk async for chunk in self])

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self.body:
            await asyncio.sleep(0.05 * chunk.count(b"."))
            self.read += len(chunk)
            yield chunk

    def response_bytes(self, status: int, fields: Iterable[tuple[str, str]], body: bytes) -> None:
        self.status, self.fields, self.content = status, dict(fields), body

    @property
    def code(self) -> str:
        return str(json.loads(self.content)["code"])


def asked(*body: bytes, path: str = "/work", **headers: str) -> Asked:
    length = {"content-length": str(sum(map(len, body)))} if body else {}
    pairs = {**length, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return Asked(list(body), Headers(list(pairs.items())), path=path)


class World:
    """An RSGI application around one whose work takes as long as a test wants."""

    def __init__(self, *, log: bool = False, later: float | None = None, **changes: object) -> None:
        self.settings = replace(Settings(), **changes)
        self.lifecycle = Lifecycle()
        self.access_log = AccessLog(
            Metrics(),
            log=log,
            later=later and (lambda tell: asyncio.get_running_loop().call_later(later, tell)),
        )
        self.go = threading.Event()
        self.seen: list[dict[str, str]] = []
        self.until = 0.0
        app = Flask("world")
        app.config["MAX_CONTENT_LENGTH"] = self.settings.max_request_bytes
        answer_errors_as_problems(app)
        self.access_log.watch(app)

        @app.before_request
        def authorise() -> None:
            if request.headers.get("X-Stranger"):
                raise Refusal("unauthorized", "who are you?")

        @app.post("/work")
        def work() -> Response:
            data = request.get_data()
            self.seen.append({k: str(v) for k, v in request.environ.items()})
            if len(data) >= LARGE:
                self.go.wait(10)
            return Response(str(len(data)))

        @app.post("/slow")
        def slow() -> str:
            time.sleep(0.2)
            return "done"

        @app.post("/heavy")
        def heavy() -> str:
            if others_wait():
                raise TooMuch
            self.until = request.environ[UNTIL]
            self.go.wait(10)
            return request.get_data(as_text=True)

        @app.post("/sign-in", endpoint="pages.sign_in")
        def sign_in() -> str:
            return str(len(request.get_data()))

        @app.get("/health", endpoint="api.health")
        def health() -> str:
            return "alive"

        @app.route("/review", methods=["GET", "POST"])
        def review() -> str:
            self.go.wait(10)  # for the database
            return "reviewed"

        self.app = app

    def run(self, act: Callable[[RsgiApp], object]) -> None:
        async def inside() -> None:
            try:
                await act(RsgiApp(self.app, self.settings, self.lifecycle, self.access_log))
            finally:
                self.go.set()

        asyncio.run(inside())

    def number(self, name: str) -> float:
        page = self.access_log.metrics.page().decode()
        return float(page.partition(f"\n{name} ")[2].partition("\n")[0] or "nan")


def all_of(*requests: Asked) -> Callable[[RsgiApp], object]:
    return lambda app: asyncio.gather(*(app.answer(each, each) for each in requests))


def assert_waits_alone(long: Asked, *, beside: Asked) -> None:
    """One request takes long, and neither another nor /health has to wait for it."""
    world, health = World(), Asked([], Headers([]), method="GET", path="/health")

    async def meanwhile(app: RsgiApp) -> None:
        waiting = asyncio.create_task(app.answer(long, long))
        await asyncio.sleep(0.05)
        await all_of(beside, health)(app)
        assert (beside.status, health.status, long.status) == (200, 200, 0)
        world.go.set()
        await waiting

    world.run(meanwhile)
    assert long.status == 200


@pytest.mark.parametrize("size", [10, LARGE // 2, 70_000])
def test_a_request_reaches_the_application_whole(size: int) -> None:
    world, one = World(), asked(b"x" * (size - 3), b"yyy", x_thing="a")
    world.run(all_of(one))
    assert (one.status, one.content) == (200, str(size).encode())
    (environ,) = world.seen
    assert environ["HTTP_X_THING"] == "a"
    assert environ["REMOTE_ADDR"] == "::1"
    assert environ["CONTENT_LENGTH"] == str(size)


def test_the_log_tells_how_many_bytes_came_and_went(capsys: pytest.CaptureFixture[str]) -> None:
    world, small, large = World(log=True), asked(b"x" * 10), asked(b"x" * LARGE)
    world.go.set()
    world.run(all_of(small, large))
    sizes = {(line["received"], line["sent"]) for line in lines(capsys)}
    assert sizes == {(10, len(b"10")), (LARGE, len(b"100000"))}


def test_log_and_numbers_tell_how_long_a_request_took(capsys: pytest.CaptureFixture[str]) -> None:
    world = World(log=True)
    world.run(all_of(asked(b"x", path="/slow")))
    (line,) = lines(capsys)
    assert 200 <= float(str(line["ms"])) < 10_000
    assert 0.2 <= world.number('garments_request_seconds_sum{endpoint="/slow"}') < 10


def test_a_body_in_chunks_is_taken_and_bounded() -> None:
    world = World(max_request_bytes=1000)
    chunked = Headers([("transfer-encoding", "chunked"), ("content-length", "5")])
    fits, exceeds = Asked([b"x" * 600], chunked), Asked([b"x" * 600] * 9, chunked)
    world.run(all_of(fits, exceeds))
    assert (fits.status, fits.content) == (200, b"600")
    assert (exceeds.status, exceeds.code) == (413, "request_too_large")


def test_headers_that_could_pass_for_others_are_dropped_and_doubles_are_joined() -> None:
    world, one = World(), asked(b"x", x_thing="a")
    one.headers.pairs += [("x_thing", "b"), ("x-thing", "c"), ("cookie", "d=1"), ("cookie", "e=2")]
    world.run(all_of(one))
    assert world.seen[0]["HTTP_X_THING"] == "a,c"
    assert world.seen[0]["HTTP_COOKIE"] == "d=1;e=2"


def test_a_header_whose_value_the_server_dropped_is_named() -> None:
    world, one, other = World(), asked(b"x"), asked(b"x", cookie="a=1", content_type="image/png")
    one.headers.names = ("cookie", "content-type")
    world.run(all_of(one, other, asked(b"without either")))
    assert [seen.get(DROPPED) for seen in world.seen] == ["('content-type', 'cookie')", None, None]


def test_beyond_the_queue_a_request_is_refused_at_once() -> None:
    world = World(max_queue=3)
    many = [asked(b"x") for _ in range(10)]
    world.run(all_of(*many))
    assert [each.status for each in many] == [200] * 3 + [429] * 7
    assert many[-1].code == "busy"
    assert int(many[-1].fields["Retry-After"]) >= 1
    assert world.number('garments_rejections_total{reason="busy"}') == 7
    assert world.number("garments_queue_depth") == 0
    assert world.number("garments_queue_seconds_count") == 3


@pytest.mark.parametrize("path", ["/work", "/review"])
def test_whoever_waits_for_a_thread_is_counted_as_in_the_queue(path: str) -> None:
    world, two = World(), [asked(b"x" * LARGE, path=path) for _ in range(2)]

    async def meanwhile(app: RsgiApp) -> None:
        waiting = asyncio.ensure_future(all_of(*two)(app))
        await asyncio.sleep(0.05)
        assert world.number("garments_queue_depth") == 1
        world.go.set()
        await waiting

    world.run(meanwhile)
    assert world.number("garments_queue_depth") == 0


def test_afterwards_all_is_as_before() -> None:
    world = World(max_queue=3)

    async def twice(app: RsgiApp) -> None:
        await all_of(*[asked(b"x") for _ in range(10)])(app)
        again = [asked(b"x") for _ in range(3)]
        await all_of(*again)(app)
        assert [each.status for each in again] == [200] * 3

    world.run(twice)


@pytest.mark.parametrize(
    "large",
    [
        asked(b"x" * LARGE),
        asked(b"x", path="/heavy"),
        asked(b"x", path="/review"),
        Asked([], Headers([]), method="GET", path="/review"),
        Asked([], Headers([]), method="GET", path="//review"),
    ],
    ids=[
        "many pictures",
        "a few bytes that are much work",
        "a form of a page",
        "a page",
        "a page with one slash more",
    ],
)
def test_what_takes_long_keeps_neither_small_requests_nor_health_waiting(large: Asked) -> None:
    assert_waits_alone(large, beside=asked(b"x"))


CHUNKED = [("transfer-encoding", "chunked")]


@pytest.mark.parametrize(
    "page",
    [
        asked(b"x" * LARGE, path="/review"),
        Asked([b"x"], Headers(CHUNKED), path="/review"),
        Asked([b"x"], Headers(CHUNKED), method="GET", path="/review"),
        Asked([], Headers([("content-length", str(10**9))]), method="GET", path="/review"),
    ],
    ids=["a large form", "a form in chunks", "a page in chunks", "too much for a page"],
)
def test_however_a_page_is_asked_for_it_waits_for_the_database_in_its_own_thread(
    page: Asked,
) -> None:
    assert_waits_alone(page, beside=asked(b"x" * LARGE, path="/slow"))


def test_a_few_bytes_that_are_much_work_reach_the_thread_whole() -> None:
    world, one = World(), asked(b"a few bytes", path="/heavy")
    world.go.set()
    world.run(all_of(one))
    assert (one.status, one.content) == (200, b"a few bytes")


def test_what_has_waited_in_the_loop_has_no_more_time_in_the_thread() -> None:
    world, slow, one = (
        World(deadline_seconds=5),
        asked(b"x", path="/slow"),
        asked(b"x", path="/heavy"),
    )
    world.go.set()
    began = time.monotonic()
    world.run(all_of(slow, one))
    assert (slow.status, one.status) == (200, 200)
    assert world.until < began + 5 + 0.15  # and not the fifth of a second that it waited later


def test_queue_and_work_together_have_a_deadline() -> None:
    world = World(deadline_seconds=0.1)
    working, waiting = asked(b"x" * LARGE), asked(b"x" * LARGE)

    async def wait_long(app: RsgiApp) -> None:
        await all_of(working, waiting)(app)
        assert not app.stuck()
        await asyncio.sleep(0.2)
        assert app.stuck()
        world.go.set()
        await asyncio.sleep(0.05)
        assert not app.stuck()

    world.run(wait_long)
    for each in (working, waiting):
        assert (each.status, each.code) == (503, "out_of_time")
        assert int(each.fields["Retry-After"]) >= 1


def test_a_page_that_never_gets_its_database_is_told_to_be_stuck() -> None:
    world, page = World(deadline_seconds=0.1), asked(b"x", path="/review")

    async def wait_long(app: RsgiApp) -> None:
        assert not app.stuck()
        await app.answer(page, page)
        await asyncio.sleep(0.2)
        assert app.stuck()

    world.run(wait_long)
    assert (page.status, page.code) == (503, "out_of_time")
    assert int(page.fields["Retry-After"]) >= 1
    assert world.number('garments_rejections_total{reason="out_of_time"}') == 1


def test_how_a_page_that_gets_no_turn_is_refused_is_said_by_the_app() -> None:
    world, page = World(deadline_seconds=0.1), asked(path="/review")
    page.method = "GET"
    world.app.register_error_handler(Refusal, lambda why: (f"<h1>{why.code}</h1>", 503))
    world.run(all_of(page))
    assert (page.status, page.content) == (503, b"<h1>out_of_time</h1>")
    assert page.fields["X-Request-ID"]


@pytest.mark.parametrize("size", [1, LARGE], ids=["a small request", "a large one"])
def test_who_waits_until_time_is_up_is_told_to_have_waited(
    size: int, capsys: pytest.CaptureFixture[str]
) -> None:
    world = World(log=True, deadline_seconds=0.1)
    slow, late = asked(b"x" * size, path="/slow"), asked(b"x" * size)
    world.run(all_of(slow, late))
    assert late.code == "out_of_time"
    assert world.number("garments_queue_seconds_count") == 2
    assert world.number("garments_queue_seconds_sum") > 0.1
    line = next(line for line in lines(capsys) if line["path"] == "/work")
    assert float(str(line["waited_ms"])) >= 100


def test_what_a_thread_does_after_its_time_is_up_changes_nothing_that_is_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    world, one = World(log=True, later=0.1, deadline_seconds=0.05), asked(b"x" * LARGE)

    async def answer_late(app: RsgiApp) -> None:
        await app.answer(one, one)
        world.go.set()
        await asyncio.sleep(0.2)

    world.run(answer_late)
    assert one.status == 503
    assert world.number('garments_requests_total{code="503",endpoint="/work"}') == 1
    assert [line["status"] for line in lines(capsys)] == [503]


def test_what_never_reaches_the_application_counts_for_its_endpoint() -> None:
    world = World(max_queue=1, body_seconds=0.05)
    many = [asked(b"x", path="//work") for _ in range(3)]
    world.run(all_of(*many, asked(b"." * 10), asked(b"." * 10, path="/nothing")))
    assert world.number('garments_requests_total{code="200",endpoint="/work"}') == 1
    assert world.number('garments_requests_total{code="429",endpoint="/work"}') == 2
    assert world.number('garments_requests_total{code="408",endpoint="/work"}') == 1
    assert world.number('garments_requests_total{code="408",endpoint="other"}') == 1
    assert world.number('garments_request_seconds_count{endpoint="/work"}') == 4


def test_the_place_goes_to_whoever_has_waited_longest_and_is_free_after_the_last() -> None:
    served: list[int] = []

    async def inside() -> Line:
        line = Line(3, lambda: None)
        line.taken = True

        async def take_its_turn(number: int) -> None:
            await line.wait(10)
            served.append(number)
            line.leave()

        waiting = [asyncio.ensure_future(take_its_turn(number)) for number in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(Refusal, match="too many requests at once"):
            line.require_room()
        line.leave()
        await asyncio.gather(*waiting)
        return line

    line = asyncio.run(inside())
    assert served == [0, 1, 2]
    assert not line.taken


def test_whoever_gives_up_leaves_the_line() -> None:
    async def inside() -> Line:
        line = Line(3, lambda: None)
        line.taken = True
        with pytest.raises(Refusal, match="longer than a request may"):
            await line.wait(0.001)
        assert len(line) == 0
        line.leave()
        return line

    assert not asyncio.run(inside()).taken


@pytest.mark.parametrize("cancelled", ["before", "with", "after"])
def test_whoever_is_cancelled_in_the_line_keeps_the_place_from_nobody(cancelled: str) -> None:
    async def inside() -> tuple[Line, list[bool | BaseException]]:
        line = Line(3, lambda: None)
        line.taken = True

        async def take_its_turn() -> bool:
            await line.wait(1)
            line.leave()
            return True

        gone, next_one = (asyncio.ensure_future(take_its_turn()) for _ in range(2))
        await asyncio.sleep(0)
        if cancelled != "after":
            gone.cancel()
        if cancelled == "before":
            await asyncio.sleep(0)
            assert len(line) == 1
        line.leave()
        gone.cancel()
        return line, await asyncio.gather(gone, next_one, return_exceptions=True)

    line, (gone, next_one) = asyncio.run(inside())
    assert isinstance(gone, asyncio.CancelledError)
    assert next_one is True
    assert not line.taken


def test_the_bodies_of_large_requests_are_bounded_together() -> None:
    world = World(max_queue_bytes=2 * LARGE + 1, max_request_bytes=LARGE, deadline_seconds=0.1)
    many = [asked(b"x" * LARGE) for _ in range(3)]
    world.run(all_of(*many, asked(b"x")))
    assert sorted(each.status for each in many) == [429, 503, 503]


def test_the_bodies_of_large_requests_are_let_go_once_these_are_answered() -> None:
    world = World(max_queue_bytes=LARGE + 1, max_request_bytes=LARGE)
    world.go.set()
    cut, first, second = (asked(b"x" * LARGE) for _ in range(3))
    cut.body = [b"x" * (LARGE - 1)]

    async def one_by_one(app: RsgiApp) -> None:
        for each in (cut, first, second):
            await app.answer(each, each)

    world.run(one_by_one)
    assert [each.status for each in (cut, first, second)] == [400, 200, 200]


def test_a_slow_body_is_given_up_and_holds_no_place() -> None:
    world = World(body_seconds=0.1, max_queue=1)
    slow = [asked(*[b"."] * 200) for _ in range(5)] + [asked(*[b"." * 1] * 200, b"x" * 70_000)]
    quick = asked(b"x")
    world.run(all_of(*slow, quick))
    assert quick.status == 200
    assert {(each.status, each.code) for each in slow} == {(408, "slow_request")}


@pytest.mark.parametrize(
    "rest", [[b"." * 20, b"x"], [b"."] * 20], ids=["silence", "a byte now and then"]
)
def test_much_at_once_buys_no_time_for_the_rest(rest: list[bytes]) -> None:
    world, one = World(body_seconds=0.2), asked(b"x" * LARGE, *rest)
    world.go.set()
    world.run(all_of(one))
    assert (one.status, one.code) == (408, "slow_request")


def test_a_body_that_comes_steadily_may_take_long(monkeypatch: pytest.MonkeyPatch) -> None:
    world, one = World(body_seconds=0.2), asked(*[b"." + b"x" * 3999] * 10)
    # By this clock it does, at 25,000 bytes a second, however busy the machine is.
    clock = SimpleNamespace(perf_counter=lambda: one.read / 25_000)
    monkeypatch.setattr("garments.web.body.time", clock)
    world.go.set()
    world.run(all_of(one))
    assert one.status == 200


def test_the_large_body_of_whoever_is_refused_is_not_read() -> None:
    world, stranger = World(max_queue=1), asked(b"x" * LARGE, x_stranger="yes")
    in_chunks = Asked(
        [b"x" * LARGE], Headers([("transfer-encoding", "chunked"), ("x-stranger", "1")])
    )
    nowhere, health = asked(b"x" * LARGE, path="/nothing"), asked(b"x" * LARGE, path="/health")
    health.method = "GET"
    world.run(all_of(stranger, in_chunks, nowhere, health))
    many = (stranger, in_chunks, nowhere, health)
    assert [each.status for each in many] == [401, 401, 404, 200]
    assert [each.read for each in many] == [0] * 4


def test_the_large_body_of_whoever_finds_no_room_in_the_line_is_not_read() -> None:
    world = World(max_queue=1)
    working, waiting, late = (asked(b"x" * LARGE) for _ in range(3))

    async def meanwhile(app: RsgiApp) -> None:
        before = asyncio.ensure_future(all_of(working, waiting)(app))
        await asyncio.sleep(0.05)
        await app.answer(late, late)
        world.go.set()
        await before

    world.run(meanwhile)
    assert [each.status for each in (working, waiting)] == [200, 200]
    assert (late.status, late.code, late.read) == (429, "busy", 0)


def test_the_large_body_of_what_takes_none_is_not_read() -> None:
    world, page = World(), asked(b"x" * LARGE, path="/review")
    page.method = "GET"
    world.go.set()
    world.run(all_of(page))
    assert (page.status, page.read) == (200, 0)


def test_what_is_open_to_all_takes_a_little_in_chunks_and_no_more() -> None:
    world, in_chunks = World(), [("transfer-encoding", "chunked")]
    little = Asked([b"x" * 10] * 3, Headers(in_chunks), path="/sign-in")
    much = Asked([b"x" * 10_000] * 100, Headers(in_chunks), path="/sign-in")
    world.run(all_of(little, much))
    assert (little.status, little.content) == (200, b"30")
    assert much.read <= 20_000


def test_the_small_body_of_whoever_is_refused_is_read_so_that_the_connection_stays() -> None:
    world, stranger = World(), asked(b"x" * 10, x_stranger="yes")
    world.run(all_of(stranger))
    assert (stranger.status, stranger.code, stranger.read) == (401, "unauthorized", 10)


@pytest.mark.parametrize("path", ["/v2/models/photo/infer", "//v2/models/photo/infer"])
def test_what_is_refused_below_v2_has_that_protocols_body(path: str) -> None:
    world, slow = World(body_seconds=0.1), asked(*[b"."] * 200, path=path)
    world.run(all_of(slow))
    assert (slow.status, list(json.loads(slow.content))) == (408, ["error"])


def test_a_body_that_breaks_off_is_told() -> None:
    world, one = World(), asked(b"x" * 70_000)
    one.body = [b"x" * 60_000, b""]
    world.run(all_of(one))
    assert (one.status, one.code) == (400, "malformed_request")


def test_before_it_leaves_each_answer_closes_its_connection() -> None:
    world, one = World(), asked(b"x")
    world.lifecycle.leaving = True
    world.run(all_of(one))
    assert (one.status, one.fields["Connection"]) == (200, "close")


def test_a_failure_of_the_application_is_told_without_its_inside(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world, one = World(), asked(b"x")
    world.app.wsgi_app = lambda *_: 1 / 0  # type: ignore[method-assign]
    world.run(all_of(one))
    assert (one.status, one.code) == (500, "internal_error")
    assert "ZeroDivisionError" in caplog.text
    assert b"Zero" not in one.content
