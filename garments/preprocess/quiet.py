"""Pillow, told to keep to itself what it finds odd in a file."""

from __future__ import annotations

import logging
import warnings


def hush_decoders() -> None:
    """Let Pillow say nothing of odd files: its warnings, one for each odd tag, would fill the log.

    They name no file, and Python would remember each of them for as long as the process lives.
    """
    warnings.filterwarnings("ignore", module=r"PIL\b")
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
