"""What scripts are given on a command line, and what they tell at their end."""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def place(text: str) -> str:
    """A path or URL as it is given. Raises ArgumentTypeError for "", which is the current folder.

    It is what an unset variable of a crontab leaves, and nobody who means that folder writes.
    """
    if not text:
        raise argparse.ArgumentTypeError(
            "it is empty: name a place, or leave it out; a variable of the command may not be set"
        )
    return text


def path(text: str) -> Path:
    """The same for what can be no URL."""
    return Path(place(text))


def tell(text: str) -> None:
    """Print it, with a question mark for what the terminal's encoding lacks. Raises OSError.

    Where nobody reads on, as behind `| head`, the process ends by SIGPIPE, like any other.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    try:
        print(text, flush=True)
    except BrokenPipeError:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        signal.raise_signal(signal.SIGPIPE)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # where Python writes it again as it ends
        raise


def progress(rows: Sequence[T], unit: str) -> Iterable[T]:
    """`rows`, with a bar of how far it is where there is a terminal."""
    from tqdm import tqdm  # not above: who has no bar need not wait for it

    return tqdm(rows, unit=unit, disable=hides_progress())


def hides_progress() -> bool | None:
    """What `disable` of tqdm is to be: None, but for a terminal, unless stderr is closed."""
    return None if sys.stderr else True
