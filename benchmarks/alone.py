"""Decoding and the model without a service: the most that a service could reach."""

import multiprocessing
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from garments.answering import answer_each
from garments.engine import Engine
from garments.preprocess import Limits
from garments.settings import PROJECT

MODEL = PROJECT / "model" / "fashion-mnist"
AT_ONCE = 64


def answer_alone(paths: Sequence[Path], wait: Callable[[], object]) -> None:
    """Read, decode and answer; `wait` is called when the model is loaded and when all is done."""
    engine = Engine(MODEL)
    wait()
    for start in range(0, len(paths), AT_ONCE):
        contents = (path.read_bytes() for path in paths[start : start + AT_ONCE])
        answer_each(engine, contents, limits=Limits())
    wait()


def alone(paths: Sequence[Path], processes: int) -> float:
    """Pictures a second that `processes` of them answer, loading aside."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(processes + 1, timeout=60)
    workers = [
        context.Process(target=answer_alone, args=(paths[rank::processes], barrier.wait))
        for rank in range(processes)
    ]
    for worker in workers:
        worker.start()
    barrier.wait()
    started = time.perf_counter()
    barrier.wait()
    spent = time.perf_counter() - started
    for worker in workers:
        worker.join()
    return len(paths) / spent
