"""A worker: a process that loads and proves the models, then answers requests until told to stop.

It hears of everything through a pipe from the supervisor, never by a signal: a signal can come at a
moment when nobody heeds it, a message waits. A closed pipe tells that the supervisor is gone.
"""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import signal
import socket
from collections.abc import Iterable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import uvloop
from flask import Flask
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.net import SocketHolder  # type: ignore[attr-defined]
from granian.server.embed import Server

from garments.settings import Settings
from garments.web import metrics
from garments.web.access_log import AccessLog
from garments.web.factory import create_app
from garments.web.lifecycle import Lifecycle
from garments.web.models import ModelFolders, Models
from garments.web.rsgi import RsgiApp

SERVE, DRAIN, STOP = "serve", "drain", "stop"
ALIVE = "alive"
_SECONDS_BETWEEN_SIGNS = 0.5

# What a connection may take to send the head of its first or next request, in milliseconds.
HEAD_MILLISECONDS = 10_000
# Bytes that a head may have.
_LONGEST_HEAD = 64 * 2**10
# Connections that a worker holds open, if the system allows so many files and some more. What is
# beyond waits in the queue of its socket.
_CONNECTIONS = 4096
_OTHER_FILES = 200
# Seconds after which requests are told of, together with others.
_LATER = 0.05
# Seconds in which all that the kernel has is surely accepted, and what was accepted has begun.
_SETTLE = 0.1


class _Server(Server):
    """Granian on a socket that is open already."""

    def __init__(self, rsgi_app: RsgiApp, descriptor: int) -> None:
        super().__init__(
            rsgi_app.answer,
            interface=Interfaces.RSGI,
            http=HTTPModes.http1,
            http1_settings=HTTP1Settings(
                header_read_timeout=HEAD_MILLISECONDS, max_buffer_size=_LONGEST_HEAD
            ),
            websockets=False,
            backpressure=_room_for_connections(),
            log_level=LogLevels.error,
        )
        self._descriptor = descriptor

    def _init_shared_socket(self) -> None:
        self._shd: Any = SocketHolder(self._descriptor, False, self.backlog)  # type: ignore[call-arg]


def _room_for_connections() -> int:
    """How many connections may be open, after the limit of files is raised as far as need be.

    At that limit Granian would try to accept again and again.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _CONNECTIONS + _OTHER_FILES
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return max(1, wanted - _OTHER_FILES)


def work(
    settings: Settings,
    found: ModelFolders,
    listener: socket.socket,
    control: Connection,
    slot: int,
    folder: Path,
    others: Iterable[Connection | socket.socket],
) -> None:
    """Be a worker. `others` are what it inherits and must not hold open."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    for other in others:
        other.close()
    metrics.share(folder, slot)
    access_log = AccessLog(
        metrics.Metrics(folder),
        log=bool(settings.request_log),
        later=lambda flush: asyncio.get_running_loop().call_later(_LATER, flush),
    )
    models = Models(found, settings.model, settings.photo_model)
    lifecycle = Lifecycle()
    app = create_app(settings, models, lifecycle, access_log)
    try:
        control.send(models.faults)
        if control.recv() == SERVE:
            uvloop.run(_serve(app, settings, lifecycle, access_log, listener, control))
    except (EOFError, BrokenPipeError):
        shutil.rmtree(folder, ignore_errors=True)  # the supervisor cannot do it any more


async def _serve(
    app: Flask,
    settings: Settings,
    lifecycle: Lifecycle,
    access_log: AccessLog,
    listener: socket.socket,
    control: Connection,
) -> None:
    """Answer requests until told to stop and all that was accepted is answered.

    Raises EOFError at the end if the supervisor is gone.
    """
    loop = asyncio.get_running_loop()
    told: asyncio.Queue[str | None] = asyncio.Queue()

    def hear() -> None:
        try:
            told.put_nowait(control.recv())
        except (EOFError, OSError):
            loop.remove_reader(control.fileno())
            told.put_nowait(None)

    def give_sign() -> None:
        if not rsgi_app.stuck():
            with suppress(OSError):
                control.send(ALIVE)
        loop.call_later(_SECONDS_BETWEEN_SIGNS, give_sign)

    rsgi_app = RsgiApp(app, settings, lifecycle, access_log)
    loop.add_reader(control.fileno(), hear)
    give_sign()
    descriptor = listener.detach()  # the server closes it
    server = _Server(rsgi_app, descriptor)
    serving = asyncio.ensure_future(server.serve())
    while (word := await told.get()) == DRAIN:
        lifecycle.draining = lifecycle.leaving = True
    lifecycle.leaving = True
    await asyncio.sleep(_SETTLE)
    # The server would close a connection that it has accepted but not heard of yet. So first it
    # accepts no more, since nobody ever calls at the socket that takes the place of the shared one.
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        deaf.setblocking(False)
        os.dup2(deaf.fileno(), descriptor)
    await asyncio.sleep(_SETTLE)
    server.stop()  # type: ignore[no-untyped-call]
    await serving
    access_log.flush()
    if word is None:
        raise EOFError
