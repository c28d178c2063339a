"""A process that does a part of another's work: deaf to Ctrl-C, and not to outlive that one."""

from __future__ import annotations

import os
import signal
import threading
from multiprocessing import parent_process
from multiprocessing.context import SpawnProcess


def start(process: SpawnProcess) -> None:
    """Start `process`, from the main thread, so that it does not hear Ctrl-C.

    A terminal sends that to both; only the one that waits is to say what became of it, and to end
    the other.
    """
    on_interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process.start()
    finally:
        signal.signal(signal.SIGINT, on_interrupt)


def end_with_parent() -> None:
    """Have this process leave at once when nobody waits for it any more, whatever it is doing."""
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    if parent := parent_process():
        parent.join()
        os._exit(1)
