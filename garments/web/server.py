"""Start the service on its production server, one worker process per core."""

from __future__ import annotations

import argparse
import functools
import ipaddress
import os
import socket
import sys
from collections.abc import Sequence
from dataclasses import replace

from granian import Granian
from granian.constants import Interfaces
from granian.log import LogLevels

from garments.settings import Settings, SettingsError
from garments.web.factory import create_app

# Threads beyond those that may work, so that a refusal or /health need not wait for a place.
_SPARE_THREADS = 8


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and serve until told to stop; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="app.py", description="Serve the classifier over HTTP until stopped."
    )
    try:
        settings = Settings.from_environment()
        parser.add_argument("--host", default=settings.host, help="default: %(default)s")
        parser.add_argument("--port", type=int, default=settings.port, help="default: %(default)s")
        parser.add_argument(
            "--workers", type=int, default=settings.workers, help="default: 0, one per core"
        )
        serve(replace(settings, **vars(parser.parse_args(arguments))))
    except SettingsError as error:
        print(f"app.py: {error}", file=sys.stderr)
        return 2
    return 0


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises SettingsError where it cannot or must not listen."""
    if not _is_loopback(settings.host) and not settings.api_token:
        raise SettingsError(
            f"{settings.host} is not loopback, so anyone who reaches it could use the service: "
            "set GARMENTS_API_TOKEN to a secret, or listen on 127.0.0.1"
        )
    _require_free(settings.host, settings.port)
    Granian(
        "garments.web:create_app",
        address=settings.host,
        port=settings.port,
        interface=Interfaces.WSGI,
        workers=settings.workers or _cores(),
        blocking_threads=settings.max_waiting + _SPARE_THREADS,
        websockets=False,
        respawn_failed_workers=True,
        # It warns of more threads than cores; most of these here only wait or refuse.
        log_level=LogLevels.error,
    ).serve(target_loader=functools.partial(create_app, settings), wrap_loader=False)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


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
