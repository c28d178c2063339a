"""Network namespaces: loopback that nobody else reaches, and machines with their own addresses."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

NETWORK = "10.77.0."


def _ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


@contextmanager
def _namespaces(*names: str) -> Iterator[None]:
    """Have namespaces with nothing but loopback; skip the test where they cannot be had."""
    made = []
    try:
        for name in names:
            try:
                _ip("netns", "add", name)
                made.append(name)
                _ip("netns", "exec", name, "ip", "link", "set", "lo", "up")
            except FileNotFoundError:
                pytest.skip("no network namespaces: install Debian's package iproute2")
            except (OSError, subprocess.CalledProcessError):
                pytest.skip("no network namespaces may be made here: needs to be root")
        yield
    finally:
        for name in made:
            for pid in _ip("netns", "pids", name).split():  # what outlives its parent
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            _ip("netns", "delete", name)


@contextmanager
def loopback() -> Iterator[list[str]]:
    """A loopback that no other process reaches: the words that run a command there."""
    name = f"garments-{os.getpid()}-alone"
    with _namespaces(name):
        yield ["ip", "netns", "exec", name]


@contextmanager
def machines(count: int) -> Iterator[list[tuple[str, list[str]]]]:
    """So many machines: the address of each, and the words that run a command there."""
    names = [f"garments-{os.getpid()}-{number}" for number in range(count + 1)]
    switch, *others = names
    with _namespaces(*names):
        _ip("-n", switch, "link", "add", "bridge", "type", "bridge")
        _ip("-n", switch, "link", "set", "bridge", "up")
        found = []
        for number, name in enumerate(others, start=1):
            port, address = f"port{number}", f"{NETWORK}{number}"
            _ip("-n", name, "link", "add", "eth", "type", "veth", "peer", port, "netns", switch)
            _ip("-n", switch, "link", "set", port, "master", "bridge", "up")
            _ip("-n", name, "address", "add", f"{address}/24", "dev", "eth")
            _ip("-n", name, "link", "set", "eth", "up")
            # Nothing is there; Ray looks which address would be taken to get anywhere.
            _ip("-n", name, "route", "add", "default", "via", f"{NETWORK}254")
            found.append((address, ["ip", "netns", "exec", name]))
        yield found
