"""Nights whose power, disk, service or clock fails at any moment; `make torture` runs all of it.

A night is killed at random, and at every call that changes a file; each of these calls fails, once
and from then on. After each of FIRST_FAULTS, every call of the night that mends it is killed, fails
once with EIO, or fails with ENOSPC from then on; after every fault would take days. The service
fails at every request. The disk has room for any number of pages, but too few. The clock jumps at
every reading. All of it is done to nights with and without an archive.

Whatever happened, the table must be the old one, none, or a whole one; and the next ordinary night
must end with one right row for every photo, without anybody's help.
"""

import argparse
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import count, product
from pathlib import Path

from garments.predictions import read_predictions
from tests import fake_service as fake
from tests.conftest import PROJECT
from tests.fake_service import fake_service
from tests.faults import Fault, Jump, calls, compiled_shim, environment, readings
from tests.outages import DEATHS, Failing, Outage
from tests.outages import KINDS as OUTAGES

NAMES = (b"a.png", b"b/c.png", b"=1+1.png", b"caf\xe9.jpg", b"d.png", b"e.png", b"twin.png")
UNREADABLE = b"bad"
KILLS = ("kill", "kill-after", "kill-torn")
# What leaves the next night much to mend, from the first steps to the last; with an archive, and
# without one.
FIRST_FAULTS = {
    False: [
        Fault(1, "kill", of="unlink predictions.db-journal"),  # the database is restored from it
        Fault(50, "kill-torn", of="pwrite predictions.db-wal"),  # some answers are recorded
        Fault(1, "kill", of="rename predictions.csv"),
        Fault(1, "kill-after", of="rename predictions.csv"),
        Fault(10, "kill-torn", of="pwrite predictions.db"),  # it has ended, but for this
    ],
    True: [
        Fault(50, "kill-torn", of="pwrite predictions.db-wal"),
        Fault(1, "kill", of="rename predictions.csv"),
        Fault(1, "kill-after", of="rename predictions.csv"),
        Fault(1, "kill", of="link archive/d.png"),
        Fault(1, "kill-after", of="unlink photos/b/c.png"),
        Fault(10, "kill-torn", of="pwrite predictions.db"),
    ],
}
SECOND_FAULTS = (("kill-torn", False), ("eio", False), ("enospc", True))
DAY = 86_400
JUMPS = (DAY, -DAY, -int(time.time()))  # the last is to 1970, where a clock without power begins
NEVER = 10**9
PAGE = 4096
ROOMY = 64 * 2**20
OLD_TABLE = b"yesterday's"


def answer(handler: fake.Handler, pictures: list[bytes]) -> None:
    """Answer as the fake service does, but for a picture that no service could read."""
    if any(picture.startswith(UNREADABLE) for picture in pictures):
        behave = fake.status(422, "damaged") if len(pictures) == 1 else fake.status(413)
        behave(handler, pictures)
    else:
        fake.answer(handler, pictures)


def content_of(name: bytes) -> bytes:
    """What the photo of that name holds: of a length of its own, but for the twin of `a.png`."""
    if name == b"e.png":
        return UNREADABLE * 10
    place = 0 if name == b"twin.png" else NAMES.index(name)
    return (b"%d " % place).ljust(20 + place, b".")


def right_rows(names: Iterable[bytes]) -> set[tuple[str, str, str]]:
    """Filename, prediction and decision of each photo, as they must be in the table."""
    rows = set()
    for name in names:
        content = content_of(name)
        number = len(content) % 10
        told = (str(number), "accept" if number % 2 else "review")
        if content.startswith(UNREADABLE):
            told = ("", "unreadable")
        rows.add((os.fsdecode(name), *told))
    return rows


class Broken(AssertionError):
    """A night left what it must not leave."""


class Place:
    """A directory of photos with yesterday's table, and where its nights keep what they know."""

    def __init__(self, root: Path, url: str, archive: bool) -> None:
        self.root, self.url, self.archive = root, url, archive
        self.photos, self.output = root / "photos", root / "predictions.csv"
        for name in NAMES:
            path = os.path.join(os.fsencode(self.photos), name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(content_of(name))
        (root / "tmp").mkdir(parents=True)
        self.output.write_bytes(OLD_TABLE)

    def start(self, variables: dict[str, str]) -> subprocess.Popen[bytes]:
        """Begin a night in a process of its own."""
        archive = ["--archive", self.root / "archive"] if self.archive else []
        return subprocess.Popen(
            [sys.executable, PROJECT / "batch_request.py", self.photos, "--output", self.output]
            + archive,
            env={
                **os.environ,
                "GARMENTS_DATABASE_URL": f"sqlite:///{self.root}/predictions.db",
                "GARMENTS_SERVICE_URL": self.url,
                "GARMENTS_SETTLE_SECONDS": "0",
                "GARMENTS_BATCH_SIZE": "2",
                "GARMENTS_RETRY_SECONDS": "2",
                "TMPDIR": str(self.root / "tmp"),
                **variables,
            },
            stderr=subprocess.PIPE,
        )

    def night(self, variables: dict[str, str] | None = None) -> tuple[int, str]:
        """Run a night to its end: its exit code and its log."""
        return ended(self.start(variables or {}))

    def present(self) -> set[bytes]:
        """The photos that are in the directory; each must be whole."""
        found = set()
        for name in NAMES:
            path = os.path.join(os.fsencode(self.photos), name)
            if os.path.lexists(path):
                found.add(name)
                with open(path, "rb") as file:
                    require(file.read() == content_of(name), f"{name!r} is another photo")
        return found

    def check_interrupted(self, before: set[bytes]) -> None:
        """Whatever happened: no half table, and no photo lost."""
        if self.output.read_bytes() != OLD_TABLE:
            rows = self.rows()
            # With an archive, an earlier night may have written of photos that have gone since.
            require(right_rows(before) <= rows | right_rows(before), "a wrong row")
            require(rows in (right_rows(before), right_rows(NAMES)), f"half a table: {rows}")
        if self.archive:
            for name in set(NAMES) - self.present():
                with open(os.path.join(os.fsencode(self.root), b"archive", name), "rb") as file:
                    require(file.read() == content_of(name), f"{name!r} was lost on its way")
        else:
            require(self.present() == set(NAMES), "a photo is gone")

    def some_night_ended(self) -> bool:
        """Whether the database tells of one, as a night does once all else is written."""
        # In a copy: to open a database mends it, which is for the next night to do.
        with tempfile.TemporaryDirectory() as folder:
            for path in self.root.glob("predictions.db*"):
                shutil.copy(path, folder)
            with closing(sqlite3.connect(f"{folder}/predictions.db")) as database:
                try:
                    (ended,) = database.execute("SELECT count(ended) FROM runs").fetchone()
                except sqlite3.OperationalError:  # there are no tables yet
                    return False
        return bool(ended)

    def check_ordinary(self, code: int, log: str, named: set[bytes]) -> None:
        """An ordinary night was carried out to its end, and its table has the photos `named`."""
        require(code == 1, f"code {code}: {log}")  # one photo is unreadable
        require(self.rows() == right_rows(named), f"wrong rows: {self.rows()}")
        left = {entry.name for entry in self.root.iterdir()} - {"archive", "tmp", "photos"}
        kept = {"predictions.csv", "predictions.db", "predictions.db.lock", "report.html"}
        require(left == kept, f"left behind: {left - kept}")
        require(not os.listdir(self.root / "tmp"), "temporary files are left")
        if self.archive:
            require(self.present() == {b"e.png"}, f"not archived: {self.present()}")
            archived = {path for path in (self.root / "archive").rglob("*") if path.is_file()}
            require(len(archived) == len(NAMES) - 1, f"the archive holds {archived}")
        with closing(sqlite3.connect(self.root / "predictions.db")) as database:
            told = database.execute("PRAGMA integrity_check").fetchall()
        require(told == [("ok",)], f"the database is damaged: {told}")

    def rows(self) -> set[tuple[str, str, str]]:
        """Filename, prediction and decision of each row; reading refuses a table that is cut."""
        rows = read_predictions(self.output, 10)
        return {(row.filename, row.prediction, row.decision) for row in rows}


def ended(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    """Wait for the end of a night: its exit code and its log. Raises Broken for one that hangs."""
    try:
        _, log = process.communicate(timeout=120)
    except subprocess.TimeoutExpired as error:
        process.kill()  # else it would hold its disk
        process.communicate()
        raise Broken("it hangs") from error
    return process.returncode, log.decode(errors="replace")


def require(holds: bool, told: str) -> None:
    """Raise Broken unless it `holds`."""
    if not holds:
        raise Broken(told)


@dataclass(frozen=True)
class Full:
    """The disk has room for so many pages beyond the photos and yesterday's table."""

    pages: int


Trouble = Fault | Jump | Outage | Full | float


@dataclass(frozen=True)
class Case:
    """What befalls each night before the ordinary one; a float kills after so many seconds."""

    faults: tuple[Trouble, ...]
    archive: bool = False


class NoSmallDisk(Exception):
    """This machine lets nobody mount a small file system."""


def mount(root: Path, size: int, how: str = "") -> None:
    """Have a file system of so many bytes in memory at `root`. Raises NoSmallDisk."""
    if shutil.which("mount") is None:
        raise NoSmallDisk("there is no program mount")
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}{how}", "none", str(root)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise NoSmallDisk(done.stderr.strip())


@contextmanager
def small_disk(root: Path) -> Iterator[None]:
    """Within it `root` is a file system of its own, which `resize` makes small.

    What was on it when a night broke is found beside `root` afterwards.
    """
    mount(root, ROOMY)
    try:
        yield
    except Broken:
        shutil.copytree(root, root.with_name(f"{root.name}-kept"), symlinks=True)
        raise
    finally:
        subprocess.run(["umount", root], check=True)


def resize(root: Path, size: int) -> None:
    """Give the file system at `root` so many bytes."""
    mount(root, size, ",remount")


class Torture:
    """Runs cases, each in a place of its own."""

    def __init__(self, folder: Path, url: str) -> None:
        self.shim = compiled_shim(folder)
        self._folder, self._url = folder, url
        self._numbers = count()

    def calls(self, archive: bool, after: Fault | None = None) -> int:
        """How many calls a night makes that is left alone, or mends what a fault left."""
        with self._place(archive) as (place, log):
            if after:
                place.night(environment(self.shim, place.root, after))
            place.night(environment(self.shim, place.root, log=log))
            return len(calls(log))

    def readings(self, archive: bool) -> int:
        """How many times a night reads the clock."""
        with self._place(archive) as (place, log):
            self._with_a_jump(place, Jump(NEVER, 0), log)
            return len(readings(log))

    def requests(self, archive: bool) -> int:
        """How many requests a night makes."""
        with self._place(archive) as (place, _):
            failing = Failing(Outage(NEVER, "cuts"), answer)
            with failing.serve() as service:
                place.night({"GARMENTS_SERVICE_URL": service.url})
            return failing.requests

    def room(self, archive: bool) -> int:
        """How many pages a night needs to come to its end. Raises NoSmallDisk."""

        def suffices(pages: int) -> bool:
            with self._place(archive, apart=True) as (place, _):
                return not self._on_a_full_disk(place, Full(pages))

        return bisect_left(range(1024), x=True, key=suffices)

    def run(self, case: Case) -> int:
        """Carry out a case; how many of its faults applied. Raises Broken and NoSmallDisk."""
        hits = 0
        apart = any(isinstance(fault, Full) for fault in case.faults)
        with self._place(case.archive, apart) as (place, log):
            try:
                for fault in case.faults:
                    before = place.present()
                    hits += self._disturb(place, fault, log)
                    place.check_interrupted(before)
                # What a night archived is told by itself if it came to its end, or by the next.
                named = place.present() if place.some_night_ended() else set(NAMES)
                place.check_ordinary(*place.night(), named)
            except Exception as error:
                kept = f"{place.root}{'-kept' if apart else ''}"
                raise Broken(f"{case}: {error} (see {kept})") from error
        return hits

    def _disturb(self, place: Place, fault: Trouble, log: Path) -> bool:
        if isinstance(fault, Outage):
            return self._without_service(place, fault)
        if isinstance(fault, Full):
            return self._on_a_full_disk(place, fault)
        if isinstance(fault, Jump):
            return self._with_a_jump(place, fault, log)
        if isinstance(fault, Fault):
            log.unlink(missing_ok=True)
            place.night(environment(self.shim, place.root, fault, log))
            return any(call.hit for call in calls(log))
        process = place.start({})
        assert process.stderr is not None
        process.stderr.readline()  # from here on it does what could be cut
        time.sleep(fault)
        killed = process.poll() is None
        process.kill()
        process.communicate()
        return killed

    def _without_service(self, place: Place, outage: Outage) -> bool:
        failing = Failing(outage, answer)
        with ExitStack() as held:
            service = held.enter_context(failing.serve())
            impatient = {"GARMENTS_TIMEOUT_SECONDS": "0.4", "GARMENTS_WAIT_SECONDS": "2"}
            process = place.start({"GARMENTS_SERVICE_URL": service.url, **impatient})
            if outage.do in DEATHS:
                while process.poll() is None and not failing.hit.wait(0.01):
                    pass
                held.close()
            if outage.do == "restarts":
                held.enter_context(failing.serve_again(service))
            ended(process)
        return failing.hit.is_set()

    def _on_a_full_disk(self, place: Place, full: Full) -> bool:
        status = os.statvfs(place.root)
        used = (status.f_blocks - status.f_bfree) * status.f_frsize
        resize(place.root, used + full.pages * PAGE)
        code, _ = place.night()
        resize(place.root, ROOMY)
        return code != 1

    def _with_a_jump(self, place: Place, jump: Jump, log: Path) -> bool:
        # A clock that is wrong is no reason to fail: this night is carried out to its end too.
        seeing = {"GARMENTS_SETTLE_SECONDS": "0.2"}  # the age of each photo
        code, told = place.night(environment(self.shim, place.root, jump, log) | seeing)
        require(code == 1, f"code {code}: {told}")
        return any(readings(log))

    @contextmanager
    def _place(self, archive: bool, apart: bool = False) -> Iterator[tuple[Place, Path]]:
        """A place, `apart` on a file system of its own, and a log; what fails stays to be seen."""
        number = next(self._numbers)
        root, log = self._folder / f"place-{number}", self._folder / f"calls-{number}"
        root.mkdir()
        with small_disk(root) if apart else nullcontext():
            yield Place(root, self._url, archive), log
        shutil.rmtree(root)
        log.unlink(missing_ok=True)


def at_random_moments(chance: random.Random, cases: int, longest: float) -> list[Case]:
    """kill -9 at any moment of a night of `longest` seconds."""
    return [
        Case((chance.uniform(0, longest),), archive=chance.random() < 0.5) for _ in range(cases)
    ]


def killed_at_every_call(number: int, archive: bool) -> Iterator[Case]:
    """Every kind of kill at each of `number` calls."""
    for at, kind in product(range(1, number + 1), KILLS):
        yield Case((Fault(at, kind),), archive)


def failing_at_every_call(number: int, archive: bool) -> Iterator[Case]:
    """Each of `number` calls fails, once and from then on, or writes half of what it should."""
    for at in range(1, number + 1):
        yield Case((Fault(at, "short"),), archive)
        for kind, lasts in product(("enospc", "eio"), (False, True)):
            yield Case((Fault(at, kind, lasts),), archive)


def during_recovery(first: Fault, number: int, archive: bool) -> Iterator[Case]:
    """A fault, and another at each of the `number` calls of the night that mends what it left."""
    for at, (kind, lasts) in product(range(1, number + 1), SECOND_FAULTS):
        yield Case((first, Fault(at, kind, lasts)), archive)


def failing_at_every_request(number: int, archive: bool) -> Iterator[Case]:
    """The service fails in every way at each of `number` requests, once and from then on."""
    for at, kind in product(range(1, number + 1), OUTAGES):
        yield Case((Outage(at, kind),), archive)
        if kind not in DEATHS:
            yield Case((Outage(at, kind, lasts=True),), archive)


def full_at_every_page(number: int, archive: bool) -> Iterator[Case]:
    """The disk has room for each number of pages below `number`, which would be enough."""
    for pages in range(number):
        yield Case((Full(pages),), archive)


def jumping_at_every_reading(number: int, archive: bool) -> Iterator[Case]:
    """The clock jumps at each of `number` readings: forwards, backwards, and to 1970."""
    for at, seconds in product(range(1, number + 1), JUMPS):
        yield Case((Jump(at, seconds),), archive)


def most_calls(torture: Torture, archive: bool, after: Fault | None = None) -> int:
    """How many calls a night makes at most: threads make some more or fewer each time."""
    return max(torture.calls(archive, after) for _ in range(3))


def every_recovery(torture: Torture, archive: bool) -> Iterator[Case]:
    """What befalls the night after each of the first faults."""
    for first in FIRST_FAULTS[archive]:
        yield from during_recovery(first, most_calls(torture, archive, first), archive)


# Each with what it befalls, a night without and one with an archive.
PLANS: dict[str, Callable[[Torture, bool], Iterable[Case]]] = {
    "kill -9 at every call": lambda torture, archive: killed_at_every_call(
        most_calls(torture, archive), archive
    ),
    "ENOSPC and EIO at every call": lambda torture, archive: failing_at_every_call(
        most_calls(torture, archive), archive
    ),
    "the same at every call of a recovery": every_recovery,
    "a service that fails at every request": lambda torture, archive: failing_at_every_request(
        torture.requests(archive), archive
    ),
    "a full disk": lambda torture, archive: full_at_every_page(torture.room(archive), archive),
    "a clock that jumps at every reading": lambda torture, archive: jumping_at_every_reading(
        torture.readings(archive), archive
    ),
}


def carry_out(torture: Torture, title: str, cases: Sequence[Case]) -> list[str]:
    """Run cases side by side, print how many there were, and return what they broke."""

    def one(case: Case) -> tuple[int, str]:
        try:
            return torture.run(case), ""
        except Broken as error:
            return 0, str(error)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        done = list(pool.map(one, cases))
    broken = [told for _, told in done if told]
    applied = sum(hits for hits, _ in done)
    print(
        f"{title}: {len(cases):,} cases, {applied:,} faults applied, {len(broken)} broken",
        flush=True,
    )
    return broken


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1_000, help="kills at random moments")
    parser.add_argument("--every", type=int, default=1, help="only one in so many other cases")
    parser.add_argument("--only", default="", help="only plans that have this in their name")
    given = parser.parse_args()
    chance = random.Random(0)
    broken = []
    with fake_service(otherwise=answer) as service, tempfile.TemporaryDirectory() as name:
        torture = Torture(Path(name), service.url)
        if given.only in (title := "kill -9 at random"):
            broken += carry_out(torture, title, at_random_moments(chance, given.kills, 0.6))
        for (title, plan), archive in product(PLANS.items(), (False, True)):
            title += ", archiving" if archive else ""
            if given.only in title:
                try:
                    cases = list(plan(torture, archive))
                except NoSmallDisk as error:
                    print(f"{title}: not tried, since nobody may mount a small one: {error}")
                else:
                    few = chance.sample(cases, -(-len(cases) // given.every))
                    broken += carry_out(torture, title, few)
    print(*broken, sep="\n")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
