"""Parts through Ray Data: to wherever a worker is free, and back as rows."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import pyarrow as pa
import ray
import ray.data
from ray.data import ActorPoolStrategy, DataContext
from ray.exceptions import RayError

from garments.batch.errors import ServiceError
from garments.cluster.parts import Part, Parts, packed
from garments.cluster.sorter import Sorter, Work
from garments.settings import tell_library

_PARTS_AT_ONCE = 200
"""That are on their way: a hundred thousand photos, whose names take some fifty MiB."""
_SECONDS_BETWEEN_LOG_LINES = 30.0
_AGAIN = "run the job again, it goes on with the parts that are missing"

logger = logging.getLogger(__name__)


def sort(work: Work, listing: Iterable[Part], parts: Parts) -> int:
    """Have a row for each photo of `listing` in `parts`; return how many had none before.

    Raises ServiceError where the cluster fails in a way that it does not mend by itself, or the
    photos' store does; and OSError where a part cannot be written.
    """
    missing = (part for part in listing if part.name not in parts)
    some = list(islice(missing, _PARTS_AT_ONCE))
    if not some:
        return 0
    looked_at = 0
    try:
        with _cluster():
            held = ray.put(work)
            while some:
                looked_at += _sort(held, some, parts)
                some = list(islice(missing, _PARTS_AT_ONCE))
    except RayError as error:
        raise ServiceError(
            f"the cluster failed: {str(error).strip().splitlines()[-1]}; {_AGAIN}"
        ) from error
    return looked_at


class _Holder(Sorter):
    """A sorter that fetches what it needs to know, so that it can be made again elsewhere."""

    def __init__(self, held: list[Any]) -> None:
        # In a list, since Ray would fetch a bare one itself, and let go of it thereafter.
        super().__init__(ray.get(held[0]))


@contextmanager
def _cluster() -> Iterator[None]:
    """The cluster that RAY_ADDRESS names or that runs here, else one for this job alone."""
    # Ray would tell its makers of every cluster.
    tell_library("RAY_USAGE_STATS_ENABLED", "0")
    on_terminate = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.WARNING)
    except (OSError, RuntimeError, ValueError) as error:
        raise ServiceError(f"no cluster can be used: {error}; see RAY_ADDRESS") from error
    signal.signal(signal.SIGTERM, on_terminate)  # Ray has put its own in the place
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()


def _sort(held: Any, some: list[Part], parts: Parts) -> int:
    sizes = {part.name: len(part.photos) for part in some}
    logged, done = time.monotonic(), 0
    for name, rows, again in _sorted(held, some):
        if name in sizes:  # a worker that was lost may have given it already
            parts.write(name, rows, again=again)
            done += sizes.pop(name)
        if time.monotonic() - logged > _SECONDS_BETWEEN_LOG_LINES:
            logged = time.monotonic()
            logger.info("%s more images done", f"{done:,}")
    return done


def _sorted(held: Any, some: list[Part]) -> Iterator[tuple[str, bytes, bool]]:
    """The rows of each part as they come, in any order."""
    context = DataContext.get_current()
    context.enable_progress_bars = False
    workers = max(1, min(int(ray.cluster_resources().get("CPU", 1)), len(some)))
    items = [packed(part) for part in some]
    # One part is one block: what a machine that dies had under way is done again, and no more.
    dataset: Any = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
        _Holder,
        fn_constructor_args=([held],),
        batch_size=None,
        batch_format="numpy",
        num_cpus=1,
        compute=ActorPoolStrategy(min_size=1, max_size=workers, initial_size=workers),
    )
    for table in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
        yield from _entries(table)


def _entries(table: pa.Table) -> Iterator[tuple[str, bytes, bool]]:
    for row in table.to_pylist():
        if row["failed"]:
            raise ServiceError(f"{row['failed']}; {_AGAIN}")
        yield row["part"], row["rows"], row["again"]
