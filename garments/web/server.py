"""Start the service: the command line, and where it may listen."""

from __future__ import annotations

import argparse
import ipaddress
import os
import socket
import sys
from collections.abc import Sequence
from dataclasses import replace

from garments.settings import PREFIX, Settings, SettingsError
from garments.web.listener import listen
from garments.web.log import configure
from garments.web.pages.session import signing_key
from garments.web.supervisor import Supervisor


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
        return serve(Settings.from_environment(**vars(given)))
    except SettingsError as error:
        told = str(error)
        for option in vars(given):
            name = f"{PREFIX}{option.upper()}"
            told = told.replace(f"{name} is", f"{name}, or --{option}, is")
        print(f"app.py: {told}", file=sys.stderr)
        return 2


def serve(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code.

    Raises SettingsError where it cannot or must not listen.
    """
    address = _resolved(settings.host)
    if not ipaddress.ip_address(address).is_loopback and not settings.api_token:
        raise SettingsError(
            f"{settings.host} is not loopback, so anyone who reaches it could use the service: "
            "set GARMENTS_API_TOKEN to a secret, or listen on 127.0.0.1"
        )
    if settings.max_queue_bytes < settings.max_request_bytes:
        raise SettingsError(
            f"a request of GARMENTS_MAX_REQUEST_BYTES, {settings.max_request_bytes:,}, could never "
            f"be taken with a GARMENTS_MAX_QUEUE_BYTES of {settings.max_queue_bytes:,}: lower the "
            "one or raise the other"
        )
    workers = settings.workers or _cores()
    listeners = listen(address, settings.port, workers)
    configure()
    print(f"serving on {settings.host}:{settings.port} with {workers} workers", flush=True)
    if not settings.api_token:  # made once, so that all workers take each other's cookies
        settings = replace(settings, secret_key=signing_key(settings))
    return Supervisor(settings, listeners).run()


def _resolved(host: str) -> str:
    """The numeric address of a name or an address."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise SettingsError(
            f"{host!r} is no address to listen on ({error}): correct --host or GARMENTS_HOST"
        ) from error
    return str(found[0][4][0])


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
