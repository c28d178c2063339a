"""Clients that tell exactly what became of each request, and never try one again."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from statistics import quantiles

import requests


@dataclass
class Tally:
    """What became of the requests sent."""

    answers: Counter[int] = field(default_factory=Counter)
    """Answers by status."""
    seconds: list[float] = field(default_factory=list)
    """How long each answer with status 200 took."""
    bodies: Counter[bytes] = field(default_factory=Counter)
    """Answers with status 200 by what they say."""
    refused: int = 0
    """Connections that the service did not take."""
    late: list[float] = field(default_factory=list)
    """How much later than it was due each request was sent, since the client itself was busy."""
    lost: list[str] = field(default_factory=list)
    """What befell requests that got no answer, or one that cannot be read, and were not refused."""

    def __str__(self) -> str:
        why = f" {dict(Counter(self.lost))}" if self.lost else ""
        return f"answers {dict(self.answers)}, lost {len(self.lost)}{why}, refused {self.refused}"

    def count(self) -> int:
        """The requests that something is known to have become of."""
        return self.answers.total() + len(self.lost) + self.refused

    def p99(self) -> float:
        """The seconds in which 99 of 100 answers with status 200 came."""
        return quantiles(self.seconds, n=100)[98]

    def p99_late(self) -> float:
        """The seconds by which 99 of 100 requests were sent at most too late."""
        return quantiles(self.late, n=100)[98]


@dataclass(frozen=True)
class Question:
    """A request, ready to be sent."""

    port: int
    content: bytes

    @classmethod
    def of(cls, url: str, pictures: list[bytes]) -> Question:
        """POST `pictures` to /predict: one as the body, more as a form."""
        sent: dict[str, object] = {"files": [("picture", picture) for picture in pictures]}
        if len(pictures) == 1:
            sent = {"data": pictures[0], "headers": {"Content-Type": "image/png"}}
        prepared = requests.Request("POST", f"{url}/predict", **sent).prepare()
        headers = {"Host": "localhost", **prepared.headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        assert isinstance(prepared.body, bytes)
        content = f"POST /predict HTTP/1.1\r\n{head}\r\n".encode() + prepared.body
        return cls(int(url.rpartition(":")[2]), content)


class Connection:
    """One connection, kept alive as long as the service lets it, then opened anew."""

    def __init__(self, question: Question, tally: Tally) -> None:
        self._question = question
        self._tally = tally
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self) -> bool:
        """Send the question once; False if the service takes no connection."""
        since = time.perf_counter()
        if self._reader is None or self._reader.at_eof():
            self.close()
            try:
                opened = await asyncio.open_connection("127.0.0.1", self._question.port)
            except ConnectionError:
                self._tally.refused += 1
                return False
            except OSError as error:  # no file is left for one more, or time ran out
                self._tally.lost.append(repr(error))
                return False
            self._reader, self._writer = opened
        assert self._writer is not None
        self._writer.write(self._question.content)
        try:
            head = await self._reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            body = await self._reader.readexactly(length)
            status = int(head.partition(b" ")[2][:3])
        except (OSError, ValueError, asyncio.IncompleteReadError) as error:
            self._tally.lost.append(repr(error))
            self.close()
            return True
        self._tally.answers[status] += 1
        if status == requests.codes.ok:
            self._tally.seconds.append(time.perf_counter() - since)
            self._tally.bodies[body] += 1
        if b"connection: close" in head.lower():
            self.close()
        return True

    def close(self) -> None:
        """Close the connection; the next question opens another."""
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None


async def ask_until(
    stop: threading.Event,
    question: Question,
    tally: Tally,
    *,
    pause: float = 0.0,
    keep: bool = True,
) -> None:
    """Ask again and again, on one connection or each time on a new one, until `stop`."""
    connection = Connection(question, tally)
    while not stop.is_set():
        if not await connection.ask():
            await asyncio.sleep(0.01)
        if not keep:
            connection.close()
        await asyncio.sleep(pause)
    connection.close()


async def ask_as_twelve(stop: threading.Event, question: Question, tally: Tally) -> None:
    """Ask until `stop` on eight connections that are kept, and four times at once on new ones."""
    kept = [ask_until(stop, question, tally, pause=0.01) for _ in range(8)]
    fresh = [ask_until(stop, question, tally, pause=0.02, keep=False) for _ in range(4)]
    await asyncio.gather(*kept, *fresh)


async def ask_anew_until(
    stop: threading.Event, question: Question, tally: Tally, *, every: float
) -> None:
    """Ask on one more connection every so many seconds, whatever becomes of those before."""
    asking = list[asyncio.Task[None]]()

    async def ask() -> None:
        connection = Connection(question, tally)
        await connection.ask()
        connection.close()

    due = time.perf_counter()
    while not stop.is_set():
        asking.append(asyncio.create_task(ask()))
        due += every
        await asyncio.sleep(max(0, due - time.perf_counter()))
    await asyncio.gather(*asking)


async def ask_for(seconds: float, question: Question, connections: int = 1) -> Tally:
    """Ask for so long on so many connections, each as soon as the last answer is there."""
    tally, stop = Tally(), threading.Event()
    asking = [ask_until(stop, question, tally) for _ in range(connections)]
    asyncio.get_running_loop().call_later(seconds, stop.set)
    await asyncio.gather(*asking)
    return tally


async def ask_at(rate: float, seconds: float, question: Question) -> Tally:
    """Ask so many times a second, whatever becomes of the questions before; count every one."""
    tally, idle = Tally(), list[Connection]()
    asking = list[asyncio.Task[None]]()

    async def ask(due: float) -> None:
        tally.late.append(time.perf_counter() - due)
        connection = idle.pop() if idle else Connection(question, tally)
        await connection.ask()
        idle.append(connection)

    began = time.perf_counter()
    for number in range(int(rate * seconds)):
        due = began + number / rate
        if (left := due - time.perf_counter()) > 0:
            await asyncio.sleep(left)
        asking.append(asyncio.create_task(ask(due)))
    await asyncio.gather(*asking)
    for connection in idle:
        connection.close()
    assert tally.count() == len(asking), f"{len(asking)} offered: {tally}"
    return tally
