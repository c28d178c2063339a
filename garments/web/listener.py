"""The sockets that workers accept from: opened once, closed with nobody left in their queues."""

from __future__ import annotations

import ctypes
import socket
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from garments.settings import SettingsError

_SPREADS = sys.platform == "linux"
_BACKLOG = 1024
_SECONDS_OF_A_TURN = 1.0
# A client that takes nothing of its answers is given up after so long, Linux alone permitting, even
# if it says all the while that it is still there. What it has asked for would be waited for at
# every stop.
_MILLISECONDS_TO_TAKE = 30_000
# A client that vanished without a word is found out after this many seconds of silence, and three
# questions that it does not answer; or after one, where the time above is up by then.
_SILENCE = {"TCP_KEEPIDLE": 30, "TCP_KEEPALIVE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
_SO_ATTACH_FILTER = 26  # Linux; the socket module does not name it
# A program of classic BPF that sees a packet from its TCP header on: (code, true, false, operand).
_NO_SYN = (
    (0x30, 0, 0, 13),  # load the byte of flags
    (0x54, 0, 0, 0x12),  # keep SYN and ACK
    (0x15, 0, 1, 0x02),  # SYN alone opens a connection:
    (0x06, 0, 0, 0),  # drop the packet
    (0x06, 0, 0, 0xFFFF),  # let all others pass
)


def listen(host: str, port: int, workers: int) -> list[socket.socket]:
    """Listen at a numeric address, with a socket for each worker. Raises SettingsError.

    Linux spreads connections evenly over sockets that share a port, where workers that share a
    socket leave most of them to whichever is first. Elsewhere all have the same socket.
    """
    try:
        if not _SPREADS:
            return [_listening(host, port)] * workers
        with _turn(port):
            with _socket(host) as probe:  # that shares the port with nobody, and so finds strangers
                probe.bind((host, port))
            return [_listening(host, port) for _ in range(workers)]
    except (OSError, OverflowError) as error:
        raise SettingsError(
            f"cannot listen on {host}:{port} ({error}): stop what is there, or choose "
            "another with --host, --port, GARMENTS_HOST or GARMENTS_PORT"
        ) from error


@contextmanager
def _turn(port: int) -> Iterator[None]:
    """Keep other services from looking for the port too: they would find it free, and share it.

    Raises OSError where it stays another's turn.
    """
    deadline = time.monotonic() + _SECONDS_OF_A_TURN
    with socket.socket(socket.AF_UNIX) as turn:
        while True:
            try:
                turn.bind(f"\0garments-{port}")
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
        yield


def _socket(host: str) -> socket.socket:
    opened = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return opened


def _listening(host: str, port: int) -> socket.socket:
    listener = _socket(host)
    if _SPREADS:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    # Every connection inherits these.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _SILENCE.items():
        if hasattr(socket, name):
            listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _MILLISECONDS_TO_TAKE)
    listener.bind((host, port))
    listener.listen(_BACKLOG)
    return listener


def admit_nobody(listener: socket.socket) -> None:
    """Let no connection begin any more; those that have begun are established and can be accepted.

    To close a listening socket resets what stands in its queue. So nobody may be left there. Only
    Linux can do that; elsewhere a connection that begins in the last instant may be reset.
    """
    program = b"".join(struct.pack("HBBI", *step) for step in _NO_SYN)
    buffer = ctypes.create_string_buffer(program)
    pointer = struct.pack("HL", len(_NO_SYN), ctypes.addressof(buffer))
    with suppress(OSError):
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, pointer)
