"""The workers of a service, as their supervisor sees them."""

from __future__ import annotations

import math
import os
import time
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from garments.web.models import ModelFolders
from garments.web.worker import STOP

# What a worker has under way when it is told to stop may take this long; then it is killed.
_SECONDS_TO_FINISH = 30


@dataclass(eq=False)
class Worker:
    """One process, what it was given, and how it fares."""

    process: BaseProcess
    control: Connection
    listener_index: int
    """Which of the supervisor's sockets it accepts from."""
    slot: int
    """Which files it keeps its numbers in; no other worker that lives has the same."""
    born: float
    loaded: bool = False
    heard_at: float = math.inf
    """When it last gave a sign, once it serves."""
    kill_at: float = math.inf

    def tell(self, word: str) -> None:
        """Send it a word."""
        with suppress(OSError):  # a worker that is gone is noticed elsewhere
            self.control.send(word)

    def dismiss(self, more: float = 0.0) -> None:
        """Let it finish what it has accepted, in so many seconds more than at a stop."""
        self.tell(STOP)
        self.kill_at = time.monotonic() + _SECONDS_TO_FINISH + more

    def hurry(self) -> None:
        """Give it no more than at a stop from now on, and no more than it has."""
        self.kill_at = min(self.kill_at, time.monotonic() + _SECONDS_TO_FINISH)

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.kill_at = self.heard_at = math.inf


@dataclass(eq=False)
class Generation:
    """Workers that serve the same models, and these models, from which each worker loads."""

    found: ModelFolders
    workers: list[Worker] = field(default_factory=list)
    load_by: float = math.inf
    told: list[str] = field(default_factory=list)
    """The faults that the log has of what its last worker loaded."""


def require_process() -> None:
    """Raise OSError where no process can be started.

    multiprocessing would find out with four files open, and leave them so at every try.
    """
    process = os.fork()
    if process == 0:
        os._exit(0)
    os.waitpid(process, 0)
