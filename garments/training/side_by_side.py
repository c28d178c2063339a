"""Fit several networks at once, each in a process of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from logging.handlers import QueueHandler, QueueListener
from multiprocessing import get_context
from multiprocessing.queues import Queue

from garments import child
from garments.dataset import DatasetError
from garments.training_request import TrainingError

Work = Callable[[], object]


def pays() -> bool:
    """Whether PyTorch has several cores to share out, and nothing faster."""
    import torch

    return torch.get_num_threads() > 1 and not torch.cuda.is_available()


def side_by_side(works: Sequence[Work], share: int) -> None:
    """Carry out all of `works`, each with PyTorch in a process with one `share`-th of the cores.

    A step of a small network keeps one core busy better than two: on two cores, two networks with
    one each are trained in little more than half of the time of one after the other.

    A work that fails is left to the caller, who fails at it in the same way, unless it was for want
    of memory. What they log is logged by this process, and none outlives it.
    """
    context = get_context("spawn")
    told = context.Queue()
    processes = [
        context.Process(target=_carry_out, args=(work, share, told), daemon=True) for work in works
    ]
    listener = QueueListener(told, *logging.getLogger().handlers)
    listener.start()
    try:
        for process in processes:
            child.start(process)
        for process in processes:
            process.join()
    finally:
        for process in processes:
            if process.is_alive():
                process.kill()
        listener.stop()


def _carry_out(work: Work, share: int, told: Queue[logging.LogRecord]) -> None:
    child.end_with_parent()
    log = logging.getLogger()
    log.addHandler(QueueHandler(told))
    log.setLevel(logging.INFO)
    import torch

    torch.set_num_threads(max(1, torch.get_num_threads() // share))
    with suppress(TrainingError, DatasetError):
        work()
