"""Object stores of the tests' own: moto's server in an environment of its own, and a fake.

The server asks for another python-dateutil than what is served with. It runs in a network
namespace, since Ray does; so whatever speaks to it is a process there too.
"""

import io
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PROJECT

SERVER = PROJECT / ".venv-peers" / "s3" / "bin" / "moto_server"
PORT = 5000  # nobody else is in the namespace
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "of-the-tests",
    "AWS_SECRET_ACCESS_KEY": "of-the-tests",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_ENDPOINT_URL": f"http://127.0.0.1:{PORT}",
}
"""What nodes and jobs find in their environment."""

_OPEN = """
import pickle, sys
from pyarrow import fs
store, _ = fs.FileSystem.from_uri("s3://photos?region=us-east-1&allow_bucket_creation=true")
"""
_MAKE = "store.create_dir('photos')"
_PUT = """
for key, content in pickle.load(sys.stdin.buffer).items():
    with store.open_output_stream(f"photos/{key}") as stream:
        stream.write(content)
"""
_PUT_PLAINLY = """
import os, urllib.request as http
url = f"{os.environ['AWS_ENDPOINT_URL']}/photos/{sys.argv[1]}"
http.urlopen(http.Request(url, data=b"x", method="PUT"), timeout=30).close()
"""
_GET = """
with store.open_input_stream(f"photos/{sys.argv[1]}") as stream:
    sys.stdout.buffer.write(stream.readall())
"""


@dataclass(frozen=True)
class Bucket:
    """A bucket, and what is in it."""

    here: Sequence[str]
    """The words that run a command where the server is."""

    def url(self, path: str) -> str:
        """What a job calls an object or a prefix."""
        return f"s3://photos/{path}?region=us-east-1"

    def put(self, objects: Mapping[str, bytes]) -> None:
        self._run(_PUT, given=pickle.dumps(objects))

    def put_plainly(self, key: str) -> None:
        """Put some object, also under a key that PyArrow refuses; S3 does not."""
        self._run(_PUT_PLAINLY, key)

    def get(self, key: str) -> bytes:
        return self._run(_GET, key)

    def make(self) -> None:
        self._run(_MAKE)

    def _run(self, program: str, *arguments: str, given: bytes = b"") -> bytes:
        return subprocess.run(
            [*self.here, sys.executable, "-c", _OPEN + program, *arguments],
            env={**os.environ, **CREDENTIALS},
            input=given,
            check=True,
            stdout=subprocess.PIPE,
            timeout=60,
        ).stdout


@contextmanager
def bucket(folder: Path, within: Sequence[str]) -> Iterator[Bucket]:
    """Run a server that has one bucket."""
    if not SERVER.exists():
        pytest.skip("moto's server is not here: make cluster")
    path = folder / "log"
    with path.open("w") as log:
        process = subprocess.Popen(
            [*within, SERVER, "-H", "127.0.0.1", "-p", str(PORT)], stdout=log, stderr=log
        )
        try:
            deadline = time.monotonic() + 30
            while "Running on" not in path.read_text():
                assert process.poll() is None, path.read_text()
                assert time.monotonic() < deadline
                time.sleep(0.05)
            made = Bucket(within)
            made.make()
            yield made
        finally:
            process.terminate()
            process.wait(timeout=10)


class Interrupted:
    """A store whose writers are interrupted, as by Ctrl-C, before the first byte has arrived.

    As with S3, an object is there when its stream is closed, whatever was written until then.
    """

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def file_system(self, url: str) -> tuple["Interrupted", str]:
        """What is had for a URL: the store, and the path in it."""
        return self, url.removeprefix("s3://")

    @contextmanager
    def open_output_stream(self, path: str) -> Iterator[io.BytesIO]:
        stream = _Interrupting()
        try:
            yield stream
        finally:
            self.objects[path] = stream.getvalue()

    def get_file_info(self, selector: Any) -> list[Any]:
        from pyarrow.fs import FileInfo, FileType

        return [
            FileInfo(path, FileType.File, size=len(content))
            for path, content in self.objects.items()
            if path.startswith(f"{selector.base_dir}/")
        ]

    def delete_file(self, path: str) -> None:
        del self.objects[path]


class _Interrupting(io.BytesIO):
    def write(self, content: Any) -> int:
        os.kill(os.getpid(), signal.SIGINT)
        return super().write(content)
