"""Machines with addresses of their own, made of network namespaces on one bridge."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

NETWORK = "10.77.0."


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@contextmanager
def machines(count: int) -> Iterator[list[tuple[str, list[str]]]]:
    """So many machines: the address of each, and the words that run a command there."""
    names = [f"garments-{os.getpid()}-{number}" for number in range(count + 1)]
    switch, *others = names
    made = []
    try:
        for name in names:
            try:
                _ip("netns", "add", name)
            except (OSError, subprocess.CalledProcessError):
                pytest.skip("no network namespaces: needs iproute2, and to be root")
            made.append(name)
            _ip("-n", name, "link", "set", "lo", "up")
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
    finally:
        for name in made:
            _ip("netns", "delete", name)
