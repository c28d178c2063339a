"""Databases to test on: a file of SQLite's, and a PostgreSQL server of the tests' own."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import free_port


def _binaries() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found += [Path(path) for path in [shutil.which("initdb")] if path]
    return found[-1].parent if found else None


@contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """Run a server with its data in `folder`, and give the URL of its database."""
    binaries = _binaries()
    if binaries is None:
        pytest.skip("PostgreSQL is not here: install Debian's package postgresql")
    data, port = folder / "data", free_port()
    data.mkdir()
    # It refuses to run as root; Debian's package comes with a user for it.
    as_user: list[str] = []
    if os.geteuid() == 0:
        as_user = ["runuser", "-u", "postgres", "--"]
        shutil.chown(data, "postgres")
        for parent in (folder, *folder.parents):
            if parent.owner() == "root":
                parent.chmod(parent.stat().st_mode | 0o011)

    def call(name: str, *arguments: str) -> None:
        subprocess.run(
            [*as_user, binaries / name, "-D", data, *arguments],
            check=True,
            cwd="/",
            stdout=subprocess.DEVNULL,
        )

    call("initdb", "--auth=trust", "--username=garments", "--encoding=UTF8", "--no-sync")
    options = (
        f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories='' -c fsync=off"
    )
    call("pg_ctl", "start", "--wait", "-o", options, "-l", f"{data}/log")
    try:
        yield f"postgresql://garments@127.0.0.1:{port}/postgres"
    finally:
        call("pg_ctl", "stop", "--wait", "-m", "immediate")
