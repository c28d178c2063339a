"""What the service counts, for Prometheus, right across its worker processes."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter as Tally
from collections.abc import Iterable
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, values
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from garments.card import Card
from garments.engine import Answer
from garments.settings import tell_library

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_PICTURES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


def own_folder() -> Path:
    """Make a folder to share, and remove those that killed services have left behind."""
    # Where files need no disk, if there is such a place.
    place = Path("/dev/shm" if os.access("/dev/shm", os.W_OK) else tempfile.gettempdir())  # noqa: S108
    space = _namespace()
    for left in place.glob(f"garments-{space}-*-*") if space else ():
        owner = left.name.split("-")[2]
        if owner.isdecimal() and not Path("/proc", owner).exists():
            shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"garments-{space}-{os.getpid()}-", dir=place))


def _namespace() -> str:
    """The number of the namespace in which an id names a process; "" where there is no /proc.

    Containers may share /dev/shm, and then know nothing of each other's processes.
    """
    try:
        return os.readlink("/proc/self/ns/pid").strip("pid:[]")
    except OSError:
        return ""


def share(folder: Path, slot: int) -> None:
    """Keep what this process counts from now on in `folder`, where every process can read it.

    No two processes at a time may have the same `slot`. Whoever takes the slot of one that is
    gone counts on from its numbers, so that nothing is forgotten and no file is added. A folder
    that is gone is made anew.
    """
    # systemd clears /dev/shm of what is a person's once that person has logged out.
    folder.mkdir(mode=0o700, exist_ok=True)
    tell_library("PROMETHEUS_MULTIPROC_DIR", str(folder))
    values.ValueClass = values.MultiProcessValue(lambda: slot)  # type: ignore[no-untyped-call]


def forget(folder: Path, slot: int) -> None:
    """Drop what only holds while a process lives; what it counted stays."""
    mark_process_dead(slot, str(folder))  # type: ignore[no-untyped-call]


class Metrics:
    """The numbers of this process, and a page of those of all that share a folder."""

    def __init__(self, folder: Path | None = None) -> None:
        """Count for this process alone, or for `folder` if `share` was called with it."""
        own = self._page = CollectorRegistry()
        if folder is not None:
            self._page = CollectorRegistry()
            MultiProcessCollector(self._page, str(folder))  # type: ignore[no-untyped-call]
        self._requests = Counter(
            "garments_requests", "Requests answered.", ["endpoint", "code"], registry=own
        )
        self._latency = Histogram(
            "garments_request_seconds",
            "Seconds from the head of a request to its answer.",
            ["endpoint"],
            buckets=_SECONDS,
            registry=own,
        )
        self._waits = Histogram(
            "garments_queue_seconds",
            "Seconds that requests waited for their turn.",
            buckets=_SECONDS,
            registry=own,
        )
        self._depth = Gauge(
            "garments_queue_depth",
            "Requests that wait for their turn.",
            multiprocess_mode="livesum",
            registry=own,
        )
        self._pictures = Histogram(
            "garments_request_pictures",
            "Pictures a request.",
            buckets=_PICTURES,
            registry=own,
        )
        self._predictions = Counter(
            "garments_predictions",
            "Pictures answered.",
            ["model", "version", "label", "decision"],
            registry=own,
        )
        self._rejections = Counter(
            "garments_rejections",
            "Requests and pictures refused, by the code of the problem.",
            ["reason"],
            registry=own,
        )
        self._loading = Gauge(
            "garments_model_load_seconds",
            "Seconds that a worker took at most to load and prove a model.",
            ["model", "version"],
            multiprocess_mode="livemax",
            registry=own,
        )
        # To look a child up by its labels takes longer than to count.
        self._counters: dict[tuple[object, ...], Counter] = {}
        self._latencies: dict[str, Histogram] = {}

    def page(self) -> bytes:
        """All numbers in the text format of Prometheus."""
        return generate_latest(self._page)

    def loaded(self, card: Card, seconds: float) -> None:
        """Tell how long a model took to load."""
        self._loading.labels(card.name, card.version).set(seconds)

    def waiting(self, requests: int) -> None:
        """Tell how many requests wait for their turn."""
        self._depth.set(requests)

    def waited(self, seconds: float) -> None:
        """Tell how long a request waited for its turn."""
        self._waits.observe(seconds)

    def refused(self, reason: str) -> None:
        """Count a request or a picture that was refused."""
        self._count(self._rejections, reason)

    def answered(self, endpoint: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._count(self._requests, endpoint, status)
        latency = self._latencies.get(endpoint)
        if latency is None:
            latency = self._latencies[endpoint] = self._latency.labels(endpoint)
        latency.observe(seconds)

    def asked(self, pictures: int) -> None:
        """Count the pictures of a request."""
        self._pictures.observe(pictures)

    def predicted(self, given: Iterable[tuple[Card, object]]) -> None:
        """Count what models said of pictures; what is no Answer is passed over."""
        for labels, count in Tally(
            (card.name, card.version, result.top[0].label, result.decision)
            for card, result in given
            if isinstance(result, Answer)
        ).items():
            self._count(self._predictions, *labels, by=count)

    def _count(self, counter: Counter, *labels: object, by: int = 1) -> None:
        key = (counter, *labels)
        child = self._counters.get(key)
        if child is None:
            child = self._counters[key] = counter.labels(*labels)
        child.inc(by)
