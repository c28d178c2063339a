"""Start the service on its production server, one worker process per core."""

from __future__ import annotations

import argparse
import functools
import ipaddress
import os
import signal
import socket
import sys
from collections.abc import Sequence

from flask import Flask
from granian import Granian
from granian.constants import Interfaces
from granian.log import LogLevels

from garments.settings import Settings, SettingsError
from garments.web.factory import create_app

# What a worker has under way when it is told to stop may take this long; then it is killed. So is
# one that was told in the instant between loading and serving, which its server does not hear.
_SECONDS_TO_FINISH = 30
# Threads beyond those that may work, so that a refusal or /health need not wait for a place.
_SPARE_THREADS = 8


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and serve until told to stop; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="app.py", description="Serve the classifier over HTTP until stopped."
    )
    parser.add_argument("--host", help="default: GARMENTS_HOST, or 127.0.0.1")
    parser.add_argument("--port", type=int, help="default: GARMENTS_PORT, or 5001")
    parser.add_argument("--workers", type=int, help="default: GARMENTS_WORKERS, or one per core")
    given = parser.parse_args(arguments)
    try:
        serve(Settings.from_environment(**vars(given)))
    except SettingsError as error:
        print(f"app.py: {error}", file=sys.stderr)
        return 2
    return 0


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises SettingsError where it cannot or must not listen."""
    address = _resolved(settings.host)
    if not ipaddress.ip_address(address).is_loopback and not settings.api_token:
        raise SettingsError(
            f"{settings.host} is not loopback, so anyone who reaches it could use the service: "
            "set GARMENTS_API_TOKEN to a secret, or listen on 127.0.0.1"
        )
    _require_free(address, settings.port)
    workers = settings.workers or _cores()
    print(f"serving on {settings.host}:{settings.port} with {workers} workers", flush=True)
    Granian(
        "garments",  # a name for its messages; what it serves is loaded below, with our settings
        address=address,
        port=settings.port,
        interface=Interfaces.WSGI,
        workers=workers,
        blocking_threads=settings.max_at_once + _SPARE_THREADS,
        websockets=False,
        respawn_failed_workers=True,
        workers_kill_timeout=_SECONDS_TO_FINISH,
        # It warns of more threads than cores; most of these here only wait or refuse.
        log_level=LogLevels.error,
    ).serve(target_loader=functools.partial(_load, settings), wrap_loader=False)


def _load(settings: Settings) -> Flask:
    """Build the app in a worker."""
    # A forked worker has its parent's handlers until its server sets its own. They only take
    # note, so a signal to stop that came while the model loads would be forgotten.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    return create_app(settings)


def _resolved(host: str) -> str:
    """The numeric address of a name or an address."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise SettingsError(
            f"{host!r} is no address to listen on ({error}): correct --host or GARMENTS_HOST"
        ) from error
    return str(found[0][4][0])


def _require_free(host: str, port: int) -> None:
    # Workers share the port, and the kernel would share it with a stranger that does so too.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            raise SettingsError(
                f"cannot listen on {host}:{port} ({error}): stop what is there, or choose "
                "another with --host, --port, GARMENTS_HOST or GARMENTS_PORT"
            ) from error


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
