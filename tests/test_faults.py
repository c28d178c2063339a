"""The tool that injects faults, on small programs: what it counts, and what it does to a call."""

import errno
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults import Call, Fault, Jump, calls, compiled_shim, environment, readings

# Every kind of call, on names that say which call it is.
EVERYTHING = """if True:
    import os
    mode = os.O_RDWR | os.O_CREAT
    file = os.open("file", mode)
    os.write(file, b"0123456789")
    os.pwrite(file, b"0123456789", 0)
    os.writev(file, [b"01234", b"56789"])
    os.pwritev(file, [b"01234", b"56789"], 0)
    os.fsync(file)
    os.fdatasync(file)
    os.ftruncate(file, 10)
    os.truncate("file", 10)
    other = os.open("other", mode)
    os.sendfile(other, file, 0, 10)
    os.copy_file_range(file, other, 10, 0, 0)
    os.rename("other", "renamed")
    os.replace("renamed", "replaced")
    os.link("replaced", "linked")
    os.symlink("nowhere", "symlinked")
    os.unlink("linked")
    os.remove("symlinked")
    os.mkdir("folder")
    folder = os.open("folder", os.O_RDONLY)
    inside = os.open("file", mode, dir_fd=folder)
    os.mkdir("deep", dir_fd=folder)
    os.rename("file", "moved", src_dir_fd=folder, dst_dir_fd=folder)
    os.link("moved", "twice", src_dir_fd=folder, dst_dir_fd=folder)
    os.fsync(folder)
    os.unlink("moved", dir_fd=folder)
    os.rmdir("deep", dir_fd=folder)
    os.rename("folder/twice", "back")
    os.rmdir("folder")
    os.open("back", os.O_RDWR | os.O_TRUNC)
"""
ALL_CALLS = [
    *[("open", "file"), ("write", "file"), ("pwrite", "file"), ("writev", "file")],
    *[("pwritev", "file"), ("fsync", "file"), ("fdatasync", "file"), ("ftruncate", "file")],
    *[("truncate", "file"), ("open", "other"), ("sendfile", "other")],
    *[("copy_file_range", "other"), ("rename", "renamed"), ("rename", "replaced")],
    *[("link", "linked"), ("symlink", "symlinked"), ("unlink", "linked"), ("unlink", "symlinked")],
    *[("mkdir", "folder"), ("open", "folder/file"), ("mkdir", "folder/deep")],
    *[("rename", "folder/moved"), ("link", "folder/twice"), ("fsync", "folder")],
    *[("unlink", "folder/moved"), ("rmdir", "folder/deep"), ("rename", "back")],
    *[("rmdir", "folder"), ("open", "back")],
]
SQLITE = """if True:
    import sqlite3, sys
    db = sqlite3.connect(sys.argv[1])
    db.execute(f"pragma journal_mode = {sys.argv[2]}")
    db.execute("pragma synchronous = full")
    db.execute("create table if not exists numbers (number)")
    with db:
        db.execute("delete from numbers")
        db.executemany("insert into numbers values (?)", [(number,) for number in range(2000)])
    db.close()
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled_shim(tmp_path_factory.mktemp("shim"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def python(program: str, *arguments: object, cwd: Path, **variables: str) -> tuple[int, str]:
    """Run the program as quickly as Python starts; its exit code, and all that it says."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **variables},
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=20,
    )
    return done.returncode, done.stdout


def told(log: Path) -> list[tuple[str, str]]:
    return [(call.name, call.path) for call in calls(log)]


# What is counted


def test_every_call_that_changes_a_file_is_counted_and_told(
    shim: Path, root: Path, log: Path
) -> None:
    assert python(EVERYTHING, cwd=root, **environment(shim, root, log=log)) == (0, "")
    assert told(log) == ALL_CALLS
    assert [call.number for call in calls(log)] == list(range(1, len(ALL_CALLS) + 1))
    assert not any(call.hit for call in calls(log))


def test_what_changes_no_file_below_the_root_is_not_counted(
    shim: Path, root: Path, log: Path
) -> None:
    (root / "old").write_text("old")
    (root.parent / "root-and-more").mkdir()
    program = """if True:
        import os, socket
        old = os.open("old", os.O_RDONLY)
        os.read(old, 3)
        os.stat("old"), os.listdir(".")
        outside = os.open("../root-and-more/outside", os.O_WRONLY | os.O_CREAT)
        os.write(outside, b"out")
        os.fsync(outside)
        os.copy_file_range(old, outside, 3, 0)
        os.rename("../root-and-more/outside", "../outside")
        os.unlink("../outside")
        for one, other in (os.pipe()[::-1], [end.detach() for end in socket.socketpair()]):
            os.write(one, b"x")
            os.writev(one, [b"x"])
            os.sendfile(one, old, 0, 3)
        listening = socket.create_server(("127.0.0.1", 0))
        socket.create_connection(listening.getsockname()).sendall(b"x")
        os.set_inheritable(os.memfd_create("x"), True)
        os.write(os.memfd_create("x"), b"x")
        os.write(1, b"out"), os.write(2, b"err")
        os.open("/dev/null", os.O_WRONLY | os.O_CREAT)
    """
    assert python(program, cwd=root, **environment(shim, root, log=log)) == (0, "outerr")
    assert told(log) == []


def test_a_pipe_below_the_root_is_not_counted(shim: Path, root: Path, log: Path) -> None:
    os.mkfifo(root / "pipe")
    program = "import os; os.write(os.open('pipe', os.O_RDWR), b'x')"
    assert python(program, cwd=root, **environment(shim, root, log=log)) == (0, "")
    assert told(log) == []


def test_a_deleted_file_is_counted(shim: Path, root: Path, log: Path) -> None:
    program = """if True:
        import os
        file = os.open("gone", os.O_RDWR | os.O_CREAT)
        os.unlink("gone")
        os.write(file, b"x")
        os.fsync(file)
    """
    assert python(program, cwd=root, **environment(shim, root, log=log)) == (0, "")
    assert told(log) == [(name, "gone") for name in ("open", "unlink", "write", "fsync")]


def test_a_file_that_never_gets_a_name_is_counted(shim: Path, root: Path, log: Path) -> None:
    # Whether or not the file system has such files.
    program = "import os; os.open('.', os.O_RDWR | os.O_TMPFILE)"
    python(program, cwd=root, **environment(shim, root, log=log))
    assert told(log) == [("open", ".")]


def test_a_file_is_known_whatever_way_leads_to_it(shim: Path, root: Path, log: Path) -> None:
    (root / "folder").mkdir()
    (root.parent / "way").symlink_to(root / "folder")
    (root / "folder" / "link").symlink_to("../file")
    program = """if True:
        import os
        os.close(os.open("way/link", os.O_WRONLY | os.O_CREAT))
        os.unlink("way/link")
        os.mkdir("root/../way/./new//")
        os.rename("root/file", "outside")
        os.rename("outside", "root/folder/../file")
    """
    (root / "file").touch()
    start = environment(shim, root.parent / "way" / "..", log=log)
    assert python(program, cwd=root.parent, **start) == (0, "")
    assert told(log) == [
        *[("open", "file"), ("unlink", "folder/link"), ("mkdir", "folder/new")],
        *[("rename", "file"), ("rename", "file")],
    ]


@pytest.mark.parametrize("name", ["a\tb\nc\r", "\\x0a", "x (deleted)", "ü 🥾", "\udcff\x85"])
def test_any_name_is_told(name: str, shim: Path, root: Path, log: Path) -> None:
    (root / name).touch()
    program = "import os; os.write(os.open(os.listdir()[0], os.O_WRONLY), b'x')"
    assert python(program, cwd=root, **environment(shim, root, log=log)) == (0, "")
    assert calls(log) == [Call(1, "write", name, hit=False)]


def test_threads_count_in_one_row(shim: Path, root: Path, log: Path) -> None:
    program = """if True:
        import os, threading
        file = os.open("file", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        def write():
            for _ in range(50):
                os.write(file, b"x")
        threads = [threading.Thread(target=write) for _ in range(4)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
    """
    assert python(program, cwd=root, **environment(shim, root, log=log)) == (0, "")
    assert [call.number for call in calls(log)] == list(range(1, 202))


def test_the_log_survives_a_program_that_closes_whatever_is_open(
    shim: Path, root: Path, log: Path
) -> None:
    program = """if True:
        import os
        os.closerange(3, 256)
        file = os.open("file", os.O_WRONLY | os.O_CREAT)
        os.write(file, b"x")
    """
    assert python(program, cwd=root, **environment(shim, root, log=log)) == (0, "")
    assert told(log) == [("open", "file"), ("write", "file")]
    assert (root / "file").read_text() == "x"


def test_whom_the_process_starts_is_left_alone(shim: Path, root: Path, log: Path) -> None:
    program = """if True:
        import os, subprocess, sys
        subprocess.run(["mkdir", "by-a-child"], check=True)
        if os.fork() == 0:
            os.mkdir("by-a-fork")
            os._exit(0)
        assert os.wait()[1] == 0
        os.mkdir("by-itself")
    """
    start = environment(shim, root, Fault(at=2, do="kill"), log)
    assert python(program, cwd=root, **start) == (0, "")
    assert sorted(os.listdir(root)) == ["by-a-child", "by-a-fork", "by-itself"]
    assert told(log) == [("mkdir", "by-itself")]


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_what_sqlite_does_to_its_files_is_counted(
    mode: str, shim: Path, root: Path, log: Path
) -> None:
    assert python(SQLITE, "db", mode, cwd=root, **environment(shim, root, log=log)) == (0, "")
    journal = "db-wal" if mode == "wal" else "db-journal"
    assert {("pwrite", "db"), ("fdatasync", "db")} <= set(told(log))
    assert {(do, journal) for do in ("open", "pwrite", "fdatasync", "unlink")} <= set(told(log))


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_no_call_is_missed_that_strace_sees(mode: str, shim: Path, root: Path, log: Path) -> None:
    # Absolute paths, for strace to show which calls are about the root.
    program = f"""if True:
        import os, shutil, sys
        root = sys.argv[1]
        sys.argv[1] += "/db"
        exec({SQLITE!r})
        with open(f"{{root}}/new", "w") as file:
            file.write("x" * 10)
            file.flush()
            os.fsync(file.fileno())
        os.replace(f"{{root}}/new", f"{{root}}/table")
        os.mkdir(f"{{root}}/folder")
        shutil.copyfile(f"{{root}}/table", f"{{root}}/folder/copy")
        shutil.rmtree(f"{{root}}/folder")
        os.unlink(sys.argv[1])
    """
    start = environment(shim, root, log=log)
    assert python(program, root, mode, cwd=root, **start) == (0, "")
    assert set(told(log)) >= {("open", "new"), ("rename", "table"), ("sendfile", "folder/copy")}
    if shutil.which("strace") is None:
        pytest.skip("strace is not here: install Debian's package strace")
    seen = root.parent / "strace"
    done = subprocess.run(
        ["strace", "-f", "-y", "-s", "0", "-e", "trace=file,desc", "-o", seen]
        + [sys.executable, "-I", "-S", "-c", program, root, mode],
        check=False,
        capture_output=True,
        text=True,
    )
    if not seen.exists() or not seen.read_text():
        pytest.skip(f"strace may not trace here: {done.stderr}")
    names = []
    for line in seen.read_text().splitlines():
        call, rest = re.match(r"\d+ +(\w*)\(?(.*)", line).groups()
        changes = not call.startswith("open") or re.search("O_CREAT|O_TRUNC|O_TMPFILE", rest)
        if str(root) in rest and changes:
            name = "rmdir" if "AT_REMOVEDIR" in rest else re.sub("(at2?|64|v2)$", "", call)
            names.append(name)
    counted = {name for name, _ in ALL_CALLS}
    assert [name for name in names if name in counted] == [name for name, _ in told(log)]


# What goes wrong


def test_a_fault_can_be_of_one_name_and_path_alone(shim: Path, root: Path, log: Path) -> None:
    program = """if True:
        import os
        os.mkdir("a"), os.rmdir("a"), os.mkdir("b"), os.mkdir("a"), os.rmdir("b")
    """
    start = environment(shim, root, Fault(at=2, do="kill-after", of="mkdir a"), log)
    assert python(program, cwd=root, **start) == (-signal.SIGKILL, "")
    assert sorted(os.listdir(root)) == ["a", "b"]
    assert [call.number for call in calls(log) if call.hit] == [4]


@pytest.mark.parametrize("seconds", [86_400, -86_400])
def test_the_clock_jumps_for_whoever_reads_it(
    seconds: int, shim: Path, root: Path, log: Path
) -> None:
    program = """if True:
        import sqlite3, time
        from datetime import datetime
        sql = sqlite3.connect(":memory:").execute
        steady, now = time.monotonic(), time.time()
        others = [datetime.now().timestamp(), time.time_ns() / 1e9]
        others += sql("SELECT CAST(strftime('%s') AS INTEGER)").fetchone()
        print(time.monotonic() - steady < 10, *(round((other - now) / 86_400) for other in others))
    """
    never = environment(shim, root, Jump(10**9, seconds), log)
    assert python(program, cwd=root, **never) == (0, "True 0 0 0\n")
    before = len(readings(log)) - 3  # some of them of Python's own
    log.unlink()
    start = environment(shim, root, Jump(before + 1, seconds), log)
    jumped = " ".join([str(seconds // 86_400)] * 3)
    assert python(program, cwd=root, **start) == (0, f"True {jumped}\n")
    assert readings(log) == [False] * before + [True] * 3
    assert calls(log) == []


@pytest.mark.parametrize(("do", "number"), [("enospc", errno.ENOSPC), ("eio", errno.EIO)])
def test_every_kind_of_call_can_fail(do: str, number: int, shim: Path, root: Path) -> None:
    # Each statement is carried out on its own, whatever became of those before.
    program = f"""if True:
        import textwrap
        failed = 0
        for line in textwrap.dedent({EVERYTHING.removeprefix("if True:")!r}).splitlines():
            try:
                exec(line)
            except OSError as error:
                failed += error.errno == {number}
            except NameError:
                pass
        print(failed)
    """
    (root / "folder").mkdir()
    (root / "file").write_text("old")
    start = environment(shim, root, Fault(at=2, do=do, lasts=True))
    # The first call opens `file`. Without `other`, two statements have nothing to work on.
    assert python(program, cwd=root, **start) == (0, f"{len(ALL_CALLS) - 1 - 2}\n")
    assert (root / "file").read_text() == "old"
    assert sorted(path.name for path in root.rglob("*")) == ["file", "folder"]


THREE_WRITES = """if True:
    import os
    file = os.open("file", os.O_WRONLY | os.O_CREAT)
    for _ in range(3):
        try:
            print(os.write(file, b"0123456789"))
        except OSError as error:
            print(error.strerror)
"""


@pytest.mark.parametrize(
    ("fault", "said", "written", "hit"),
    [
        (None, ["10", "10", "10"], 30, []),
        (Fault(3, "enospc"), ["10", "No space left on device", "10"], 20, [3]),
        (Fault(3, "eio"), ["10", "Input/output error", "10"], 20, [3]),
        (Fault(3, "eio", lasts=True), ["10"] + ["Input/output error"] * 2, 10, [3, 4]),
        (Fault(3, "short"), ["10", "5", "10"], 25, [3]),
        (Fault(3, "short", lasts=True), ["10", "5", "5"], 20, [3, 4]),
        (Fault(1, "short"), ["10", "10", "10"], 30, []),  # there is no half of opening a file
        (Fault(5, "eio"), ["10", "10", "10"], 30, []),
    ],
    ids=str,
)
def test_a_write_fails_or_comes_short_once_or_from_then_on(
    fault: Fault | None,
    said: list[str],
    written: int,
    hit: list[int],
    shim: Path,
    root: Path,
    log: Path,
) -> None:
    code, output = python(THREE_WRITES, cwd=root, **environment(shim, root, fault, log))
    assert (code, output.splitlines()) == (0, said)
    assert (root / "file").stat().st_size == written
    assert [call.number for call in calls(log) if call.hit] == hit
    assert len(calls(log)) == 4


@pytest.mark.parametrize(
    ("fault", "left"),
    [
        (Fault(1, "kill"), None),
        (Fault(1, "kill-after"), b""),
        (Fault(1, "kill-torn"), None),  # there is no half of opening a file
        (Fault(3, "kill"), b"0123456789"),
        (Fault(3, "kill-after"), b"01234567890123456789"),
        (Fault(3, "kill-torn"), b"012345678901234"),
    ],
    ids=str,
)
def test_a_kill_comes_before_after_or_amid_the_call(
    fault: Fault, left: bytes | None, shim: Path, root: Path, log: Path
) -> None:
    code, _ = python(THREE_WRITES, cwd=root, **environment(shim, root, fault, log))
    assert code == -signal.SIGKILL
    file = root / "file"
    assert (file.read_bytes() if file.exists() else None) == left
    assert [call.number for call in calls(log)] == list(range(1, fault.at + 1))
    assert [call.number for call in calls(log) if call.hit] == [fault.at]


@pytest.mark.parametrize(
    ("write", "half"),
    [
        ("os.write(file, b'0123456789')", b"01234"),
        ("os.pwrite(file, b'0123456789', 1)", b"\x0001234"),
        ("os.writev(file, [b'012', b'', b'3456', b'789'])", b"01234"),
        ("os.pwritev(file, [b'0', b'1', b'23456789'], 1)", b"\x0001234"),
        ("os.sendfile(file, source, 0, 10)", b"01234"),
        ("os.copy_file_range(source, file, 10, 0, 0)", b"01234"),
    ],
)
@pytest.mark.parametrize("do", ["short", "kill-torn"])
def test_everything_that_writes_can_write_half(
    do: str, write: str, half: bytes, shim: Path, root: Path
) -> None:
    (root / "source").write_bytes(b"0123456789")
    program = f"""if True:
        import os
        source = os.open("source", os.O_RDONLY)
        file = os.open("file", os.O_WRONLY | os.O_CREAT)
        print({write})
    """
    outcome = python(program, cwd=root, **environment(shim, root, Fault(2, do)))
    assert outcome == ((0, "5\n") if do == "short" else (-signal.SIGKILL, ""))
    assert (root / "file").read_bytes() == half


def test_a_single_byte_has_no_half(shim: Path, root: Path, log: Path) -> None:
    program = "import os; print(os.write(os.open('file', os.O_WRONLY), b'x'))"
    (root / "file").touch()
    assert python(program, cwd=root, **environment(shim, root, Fault(1, "short"))) == (0, "1\n")
    (root / "file").write_text("")
    start = environment(shim, root, Fault(1, "kill-torn"))
    assert python(program, cwd=root, **start) == (-signal.SIGKILL, "")
    assert (root / "file").read_text() == ""


@pytest.mark.parametrize("do", ["kill", "kill-after"])
def test_no_other_thread_changes_anything_after_a_kill(do: str, shim: Path, root: Path) -> None:
    program = """if True:
        import os, threading
        file = os.open("file", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        def write():
            for _ in range(1000):
                os.write(file, b"x")
        [threading.Thread(target=write).start() for _ in range(4)]
    """
    code, _ = python(program, cwd=root, **environment(shim, root, Fault(101, do)))
    assert code == -signal.SIGKILL
    # A thread with a lower number may have been killed on its way to its own call.
    most = 99 if do == "kill" else 100
    assert most - 3 <= (root / "file").stat().st_size <= most


def test_sqlite_says_that_the_disk_is_full_and_keeps_what_it_had(
    shim: Path, root: Path, log: Path
) -> None:
    database = root / "db"
    assert python(SQLITE, database, "wal", cwd=root, **environment(shim, root, log=log))[0] == 0
    before = database.read_bytes()
    start = environment(shim, root, Fault(3, "enospc", lasts=True))
    code, output = python(SQLITE, database, "wal", cwd=root, **start)
    assert code == 1
    assert re.search("disk is full|disk I/O error|unable to open", output.splitlines()[-1])
    assert database.read_bytes() == before


# The tool and its settings


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"FAULT_DO": "explode"}, "FAULT_DO is explode"),
        ({"FAULT_AT": "0"}, "FAULT_AT is 0"),
        ({"FAULT_AT": "-1"}, "FAULT_AT is -1"),
        ({"FAULT_AT": "1st"}, "FAULT_AT is 1st"),
        ({"FAULT_ROOT": "/nowhere"}, "FAULT_ROOT is /nowhere"),
        ({"FAULT_LOG": "/nowhere/log"}, "FAULT_LOG is /nowhere/log"),
    ],
)
def test_a_fault_that_is_not_understood_is_refused(
    change: dict[str, str], complaint: str, shim: Path, root: Path
) -> None:
    start = {**environment(shim, root, Fault(1, "kill")), **change}
    assert python("", cwd=root, **start) == (97, f"faults/shim.c: {complaint}\n")


def test_an_exec_takes_the_fault_along(shim: Path, root: Path, log: Path) -> None:
    program = "import os, sys; os.execv(sys.executable, [sys.executable, '-c', sys.argv[1]])"
    start = environment(shim, root, Fault(1, "kill"), log)
    code, _ = python(program, "import os; os.mkdir('folder')", cwd=root, **start)
    assert code == -signal.SIGKILL
    assert calls(log) == [Call(1, "mkdir", "folder", hit=True)]


def test_without_a_compiler_the_test_is_skipped_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(pytest.skip.Exception, match="C compiler|Linux"):
        compiled_shim(tmp_path)


def test_a_path_that_the_loader_would_take_apart_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be preloaded"):
        environment(tmp_path / "a b" / "shim.so", tmp_path)


def test_another_preloaded_library_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD", "libother.so")
    assert environment(Path("/shim.so"), tmp_path)["LD_PRELOAD"] == "/shim.so:libother.so"
