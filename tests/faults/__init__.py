"""Faults injected into a real process: its disk is full or fails, the power goes, the clock jumps.

`shim.c` is preloaded into the process. It numbers every call that changes a file below a folder -
the writes, syncs and truncations, the opens that create or truncate, and whatever gives, changes
or takes away a name - and makes the one that a test picks go wrong. A test first runs without a
fault to see how many calls there are, and then once for each of them.

Only the process that is started with the variables counts: what it starts or forks in turn is left
alone. Each call is told under its plain name: `openat64` is `open`, `pwrite64` is `pwrite`.
"""

import os
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent / "shim.c"
_READING = "clock"


@dataclass(frozen=True)
class Fault:
    """What goes wrong at the call with the number `at`, counted from 1.

    `do` is one of

    - `enospc`, `eio`: the call is not carried out and fails with this error;
    - `short`: half of the bytes are written, which is legal and no error;
    - `kill`: the process is killed instead of the call;
    - `kill-after`: the process is killed as soon as the call has been carried out;
    - `kill-torn`: half of the bytes are written, then the process is killed.

    What writes less than two bytes has no half: `short` then does nothing, and `kill-torn` kills
    without the call. If it lasts, every later call goes wrong as well. `of`, a call's name and path
    as `rename table.csv`, leaves all other calls alone: `at` counts, and it lasts for, only those.
    """

    at: int
    do: str
    lasts: bool = False
    of: str = ""


@dataclass(frozen=True)
class Jump:
    """The wall clock jumps by `seconds` at the reading with the number `at`, counted from 1.

    All later readings are off by as much. Neither the monotonic clock nor the times of files are.
    """

    at: int
    seconds: int


@dataclass(frozen=True)
class Call:
    """A call that changes `path`, which is relative to the root; `hit` if something went wrong.

    A rename or link is told once, under its new name if that is below the root.
    """

    number: int
    name: str
    path: str
    hit: bool


def compiled_shim(folder: Path) -> Path:
    """Compile the library into `folder`; skip the test where that is not possible.

    Raises RuntimeError, with what the compiler says, if it does not take the source.
    """
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("faults are injected on Linux with glibc only")
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("faults are injected by a library that needs a C compiler: install gcc")
    shim = folder / "shim.so"
    done = subprocess.run(
        [compiler, "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O2", "-fPIC", "-shared"]
        + ["-o", str(shim), str(SOURCE)],
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{compiler} does not compile {SOURCE}:\n{done.stderr}")
    return shim


def environment(
    shim: Path, root: Path, fault: Fault | Jump | None = None, log: Path | None = None
) -> dict[str, str]:
    """The variables that put a process under `shim`, to be added to its environment.

    `root` must exist when the process starts; what changes below it counts. The process appends
    each call to `log` before carrying it out, and each reading of a clock that is to jump. It ends
    with code 97 if it cannot do as it is told.
    Raises ValueError for a path of the library that the loader would take for several.
    """
    if set(str(shim)) & set(" :$"):
        raise ValueError(f"{shim} cannot be preloaded: the loader splits or expands its path")
    others = os.environ.get("LD_PRELOAD")
    variables = {
        "LD_PRELOAD": f"{shim}:{others}" if others else str(shim),
        "FAULT_ROOT": str(root.absolute()),
    }
    if isinstance(fault, Jump):
        variables |= {"FAULT_CLOCK_AT": str(fault.at), "FAULT_CLOCK_BY": str(fault.seconds)}
    elif fault is not None:
        variables |= {"FAULT_AT": str(fault.at), "FAULT_DO": fault.do}
        variables |= {"FAULT_LASTS": "1" if fault.lasts else "0"}
        variables |= {"FAULT_OF": fault.of} if fault.of else {}
    if log is not None:
        variables["FAULT_LOG"] = str(log.absolute())
    return variables


def calls(log: Path) -> list[Call]:
    """What the process appended to `log`, by number: threads need not append in that order.

    Raises FileNotFoundError if no process was under the library.
    """
    return [call for call in _told(log) if call.name != _READING]


def readings(log: Path) -> list[bool]:
    """Whether the clock had jumped, for each reading in `log` of one that is to jump."""
    return [call.hit for call in _told(log) if call.name == _READING]


def _told(log: Path) -> list[Call]:
    rows = [line.split(b"\t") for line in log.read_bytes().splitlines()]
    return sorted(
        (
            Call(int(number), name.decode(), _unescaped(path), hit == b"hit")
            for number, name, path, hit in rows
        ),
        key=lambda call: call.number,
    )


def _unescaped(path: bytes) -> str:
    return os.fsdecode(re.sub(rb"\\x(..)", lambda match: bytes.fromhex(match[1].decode()), path))
