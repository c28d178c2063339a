import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PROJECT


@pytest.mark.parametrize(
    ("reason", "at_once", "code"),
    [
        ("wrk is not here: install Debian's package wrk", "0", 1),
        ("torch is not installed: make torch", "1", 1),
        ("there is no accelerator", "0", 0),
    ],
)
def test_what_could_be_installed_is_no_reason_to_skip_where_all_is_to_run(
    reason: str, at_once: str, code: int, tmp_path: Path
) -> None:
    skipped = (
        f"import pytest\n@pytest.mark.skip(reason={reason!r})\ndef test_some(): assert False\n"
    )
    (tmp_path / "test_some.py").write_text(skipped + "def test_another(): assert True\n")
    alone = ["-c", "/dev/null", "-p", "xdist", "-p", "tests.complete", "-n", at_once]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *alone, tmp_path],
        cwd=PROJECT,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},  # some take seconds to load
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, done.stdout
    assert (f"though it can be had:\nSkipped: {reason}" in done.stdout) == bool(code)
