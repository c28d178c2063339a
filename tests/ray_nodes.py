"""A Ray cluster of the tests' own: every node is a `ray start` of its own, and can be killed.

Ray listens on every address and cannot be told otherwise, so all of it runs in network namespaces.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from benchmarks.service import family

MEMORY = 80 * 2**20  # of a node's object store, in bytes; Ray takes no less
SECRET = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "of-the-tests-" + "0" * 32}
PORT = 6379  # nobody else is in the namespace


class Node:
    """One `ray start --block`; `within` are the words that run a command in its namespace."""

    def __init__(
        self, *arguments: str, environment: dict[str, str], within: Sequence[str], log: IO[bytes]
    ) -> None:
        self.process = subprocess.Popen(
            [
                *within,
                sys.executable,
                "-m",
                "ray.scripts.scripts",
                "start",
                "--block",
                f"--object-store-memory={MEMORY}",
                *arguments,
            ],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=log,
            start_new_session=True,
        )

    def kill(self) -> None:
        """End all of it at once, as a power cut does."""
        for pid in reversed(family(self.process.pid)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(timeout=20)


class Cluster:
    """A head that works on nothing, and as many workers of one core each as are added."""

    def __init__(
        self, environment: dict[str, str], within: Sequence[str], head: str = "127.0.0.1"
    ) -> None:
        self.here = [*within]
        """The words that run a command on the machine of the head."""
        self.address = f"{head}:{PORT}"
        # Ray's sockets are files, and the name of one has at most 107 bytes.
        self._folder = Path(tempfile.mkdtemp(prefix="r", dir="/tmp"))
        self.environment = {
            **os.environ,
            **SECRET,
            "RAY_USAGE_STATS_ENABLED": "0",
            "GARMENTS_SETTLE_SECONDS": "0",
            "RAY_ADDRESS": self.address,
            **environment,
        }
        self.nodes: list[Node] = []
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed in `close`)
        starting = {key: self.environment[key] for key in self.environment if key != "RAY_ADDRESS"}
        self._starting = starting
        self._add(
            "--head",
            f"--node-ip-address={head}",
            f"--port={PORT}",
            "--num-cpus=0",
            "--include-dashboard=false",
            f"--temp-dir={self._folder}",
            within=within,
        )

    def add(self, ip: str = "127.0.0.1", within: Sequence[str] = ()) -> Node:
        """Start one more worker, beside the head unless it is told where."""
        return self._add(
            f"--address={self.address}",
            f"--node-ip-address={ip}",
            "--num-cpus=1",
            within=within or self.here,
        )

    def _add(self, *arguments: str, within: Sequence[str]) -> Node:
        node = Node(*arguments, environment=self._starting, within=within, log=self._log)
        self.nodes.append(node)
        return node

    def wait_for(self, cores: int) -> None:
        """Return as soon as workers with so many cores have joined."""
        program = (
            "import ray; ray.init(log_to_driver=False, logging_level='ERROR');"
            "print('cores', int(ray.cluster_resources().get('CPU', 0)))"
        )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            assert all(node.process.poll() is None for node in self.nodes), self._told()
            done = subprocess.run(
                [*self.here, sys.executable, "-W", "ignore", "-c", program],
                check=False,
                env=self.environment,
                capture_output=True,
                text=True,
                timeout=60,
            )
            if (told := re.search(r"cores (\d+)", done.stdout)) and int(told[1]) >= cores:
                return
            time.sleep(0.5)
        raise AssertionError(f"the cluster is not there: {done.stderr[-2000:]}")

    def _told(self) -> str:
        self._log.seek(0)
        return self._log.read().decode(errors="replace")[-3000:]

    def close(self) -> None:
        """End all nodes, and remove what they leave."""
        for node in self.nodes:
            if node.process.poll() is None:
                node.kill()
        self._log.close()
        shutil.rmtree(self._folder, ignore_errors=True)


@contextmanager
def cluster(workers: int, within: Sequence[str], **environment: str) -> Iterator[Cluster]:
    """Run a cluster on the loopback of one namespace."""
    made = Cluster(environment, within)
    try:
        made.wait_for(0)  # a worker that finds no head gives up
        for count in range(1, workers + 1):  # two that start at once may get in each other's way
            made.add()
            made.wait_for(count)
        yield made
    finally:
        made.close()
