"""An object store of the tests' own, on loopback: moto's server in an environment of its own.

It asks for another python-dateutil than what is served with.
"""

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PROJECT, free_port

SERVER = PROJECT / ".venv-peers" / "s3" / "bin" / "moto_server"
PORT = free_port()
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "of-the-tests",
    "AWS_SECRET_ACCESS_KEY": "of-the-tests",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_ENDPOINT_URL": f"http://127.0.0.1:{PORT}",
}
"""What nodes and jobs find in their environment."""


@dataclass(frozen=True)
class Bucket:
    """A bucket, and what is in it."""

    store: Any

    def url(self, path: str) -> str:
        """What a job calls an object or a prefix."""
        return f"s3://photos/{path}?region=us-east-1"

    def put(self, key: str, content: bytes) -> None:
        with self.store.open_output_stream(f"photos/{key}") as stream:
            stream.write(content)

    def get(self, key: str) -> bytes:
        with self.store.open_input_stream(f"photos/{key}") as stream:
            return bytes(stream.readall())


@contextmanager
def bucket(folder: Path) -> Iterator[Bucket]:
    """Run a server that has one bucket."""
    if not SERVER.exists():
        pytest.skip("moto's server is not here: make cluster")
    with (folder / "log").open("w+") as log:
        process = subprocess.Popen(
            [SERVER, "-H", "127.0.0.1", "-p", str(PORT)], stdout=log, stderr=log
        )
        try:
            wait_until_listening()
            yield Bucket(_file_system())
        finally:
            process.terminate()
            process.wait(timeout=10)


def wait_until_listening() -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", PORT), timeout=1).close()
            return
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def _file_system() -> Any:
    from pyarrow import fs

    store = fs.S3FileSystem(
        access_key=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        secret_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        endpoint_override=f"127.0.0.1:{PORT}",
        scheme="http",
        region="us-east-1",
        allow_bucket_creation=True,
    )
    store.create_dir("photos")
    return store
