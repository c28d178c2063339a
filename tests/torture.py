"""Nights that are killed, or whose disk fails, at any call; `make torture` runs all of it.

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
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from garments.predictions import read_predictions
from tests import fake_service as fake
from tests.conftest import PROJECT
from tests.fake_service import fake_service
from tests.faults import Fault, calls, compiled_shim, environment

NAMES = (b"a.png", b"b/c.png", b"=1+1.png", b"caf\xe9.jpg", b"d.png", b"e.png", b"twin.png")
UNREADABLE = b"bad"
KINDS = ("kill", "kill-after", "kill-torn", "enospc", "eio", "short")
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
            + ["--url", self.url, *archive],
            env={
                **os.environ,
                "GARMENTS_DATABASE_URL": f"sqlite:///{self.root}/predictions.db",
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
        process = self.start(variables or {})
        _, log = process.communicate(timeout=120)
        return process.returncode, log.decode(errors="replace")

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


def require(holds: bool, told: str) -> None:
    """Raise Broken unless it `holds`."""
    if not holds:
        raise Broken(told)


@dataclass(frozen=True)
class Case:
    """Faults, one for each night before the ordinary one; a float kills after so many seconds."""

    faults: tuple[Fault | float, ...]
    archive: bool = False


class Torture:
    """Runs cases, each in a place of its own."""

    def __init__(self, folder: Path, url: str) -> None:
        self.shim = compiled_shim(folder)
        self._folder, self._url = folder, url
        self._numbers = count()

    def calls(self, archive: bool) -> int:
        """How many calls a night makes that is left alone."""
        place, log = self._place(archive)
        place.night(environment(self.shim, place.root, log=log))
        return len(calls(log))

    def run(self, case: Case) -> int:
        """Carry out a case; how many of its faults applied. Raises Broken."""
        place, log = self._place(case.archive)
        hits = 0
        try:
            for fault in case.faults:
                before = place.present()
                hits += self._disturb(place, fault, log)
                place.check_interrupted(before)
            # A night that came to its end has told of what it archived; of others the next tells.
            named = place.present() if place.some_night_ended() else set(NAMES)
            place.check_ordinary(*place.night(), named)
        except (Exception, subprocess.TimeoutExpired) as error:
            raise Broken(f"{case}: {error} (see {place.root})") from error
        shutil.rmtree(place.root)
        log.unlink(missing_ok=True)
        return hits

    def _disturb(self, place: Place, fault: Fault | float, log: Path) -> bool:
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

    def _place(self, archive: bool) -> tuple[Place, Path]:
        number = next(self._numbers)
        root = self._folder / f"place-{number}"
        root.mkdir()
        return Place(root, self._url, archive), self._folder / f"calls-{number}"


def at_every_call(number: int, *, archive: bool = False) -> list[Case]:
    """Every kind of fault at each of `number` calls, once and from then on."""
    cases = []
    for at in range(1, number + 1):
        for kind in KINDS:
            cases.append(Case((Fault(at, kind),), archive))
            if kind in ("enospc", "eio"):
                cases.append(Case((Fault(at, kind, lasts=True),), archive))
    return cases


def during_recovery(number: int, chance: random.Random, cases: int) -> list[Case]:
    """A fault at one call, and another while the next night mends what it left."""
    return [
        Case(
            tuple(
                Fault(chance.randint(1, number), kind, lasts=kind in ("enospc", "eio"))
                for kind in chance.choices(KINDS, k=2)
            ),
            archive=chance.random() < 0.5,
        )
        for _ in range(cases)
    ]


def at_random_moments(chance: random.Random, cases: int, longest: float) -> list[Case]:
    """kill -9 at any moment of a night of `longest` seconds."""
    return [
        Case((chance.uniform(0, longest),), archive=chance.random() < 0.5) for _ in range(cases)
    ]


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
    print(f"{title}: {len(cases):,} cases, {applied:,} faults applied, {len(broken)} broken")
    return broken


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1_000, help="kills at random moments")
    parser.add_argument("--recoveries", type=int, default=200, help="faults during a recovery")
    parser.add_argument(
        "--every", type=int, default=1, help="only one in so many of the faults at calls"
    )
    given = parser.parse_args()
    chance = random.Random(0)

    def few(cases: list[Case]) -> list[Case]:
        return chance.sample(cases, len(cases) // given.every)

    with fake_service(otherwise=answer) as service, tempfile.TemporaryDirectory() as name:
        torture = Torture(Path(name), service.url)
        plain, archiving = torture.calls(archive=False), torture.calls(archive=True)
        print(f"a night makes {plain} calls that can fail, {archiving} with an archive", flush=True)
        plans: list[tuple[str, Callable[[], list[Case]]]] = [
            ("at every call", lambda: few(at_every_call(plain))),
            (
                "at every call, archiving",
                lambda: few(at_every_call(archiving, archive=True)),
            ),
            ("during recovery", lambda: during_recovery(archiving, chance, given.recoveries)),
            ("kill -9 at random", lambda: at_random_moments(chance, given.kills, 0.6)),
        ]
        broken = [told for title, cases in plans for told in carry_out(torture, title, cases())]
    print(*broken, sep="\n")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
