"""The log of the service: a JSON object a line, on stderr."""

from __future__ import annotations

import io
import json
import logging
import os
import sys
import time
from contextlib import suppress
from typing import Any, TextIO


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}"
            f".{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line)


class _Lossy(io.FileIO):
    """A file that drops what it has no room for, as nothing that is said is worth failing for."""

    def write(self, data: Any) -> int:
        written = None
        with suppress(OSError):
            written = super().write(data)
        return len(data) if written is None else written


def _unfailing(stream: TextIO | None) -> TextIO:
    if stream is None:  # it was closed before the start
        return open(os.devnull, "w", encoding="utf-8")
    file = io.BufferedWriter(_Lossy(stream.fileno(), "w", closefd=False))
    return io.TextIOWrapper(file, stream.encoding, "backslashreplace", line_buffering=True)


def configure() -> None:
    """Send what this process and those that it starts have to say to stderr.

    Neither stdout nor stderr raises an error from then on, be the disk full, the stream closed, or
    a letter unknown to its encoding.
    """
    sys.stdout, sys.stderr = _unfailing(sys.stdout), _unfailing(sys.stderr)
    handler = logging.StreamHandler()
    handler.setFormatter(_Json())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
