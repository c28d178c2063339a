"""Ray's driver: parts through Ray Data to wherever a worker is free, and back as rows.

It runs in a process of its own, whose one listener is `garments.cluster.driver_process`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

import ray
import ray.data
from ray.data import ActorPoolStrategy, DataContext
from ray.exceptions import RayError

from garments.batch.errors import ServiceError
from garments.child import end_with_parent
from garments.cluster.connect import cluster
from garments.cluster.sorter import Sorter, Work


def serve(connection: Connection, work: Work) -> None:
    """Receive lists of packed parts, one after the other; send the rows of each part as they come.

    When all of a list are sent None is, and when no more can be had a ServiceError. It ends when
    it receives None, with SIGTERM, which Ray hears, and with the process that has started it.
    """
    end_with_parent()  # with which Ray's own processes here end, too
    some = connection.recv()
    try:
        with cluster():
            logging.getLogger("ray.data").setLevel(logging.WARNING)
            logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)
            held = ray.put(work)
            while some:
                for entry in _sorted(held, some):
                    connection.send(entry)
                connection.send(None)
                some = connection.recv()
    except RayError as error:
        told = str(error).strip().splitlines()[-1]
        connection.send(ServiceError(f"the cluster failed: {told}"))
    except ServiceError as error:
        connection.send(error)


class _Holder(Sorter):
    """A sorter that fetches what it needs to know, so that it can be made again elsewhere."""

    def __init__(self, held: list[Any]) -> None:
        # In a list, since Ray would fetch a bare one itself, and let go of it thereafter.
        super().__init__(ray.get(held[0]))


def _sorted(held: Any, items: list[dict[str, Any]]) -> Iterator[tuple[str, bytes, bool, str]]:
    """The rows of each part as they come, in any order, whether to try again, and what failed."""
    context = DataContext.get_current()
    context.enable_progress_bars = False
    workers = max(1, min(int(ray.cluster_resources().get("CPU", 1)), len(items)))
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
        for row in table.to_pylist():
            yield row["part"], row["rows"], row["again"], row["failed"]
