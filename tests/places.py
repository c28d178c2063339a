"""A directory of photos with its nights, and what tests ask of it."""

import errno
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from garments import batch
from garments.predictions import read_predictions
from garments.settings import Settings
from garments.store import Database, Store, StoreError
from garments.store.queue import Item, Queue
from garments.store.reviews import Decision, Reviews
from tests import fake_service as fake
from tests.conftest import until


class Place:
    """A directory of photos, with the table and the database of its nights."""

    def __init__(self, folder: Path) -> None:
        self.photos = folder / "photos"
        self.output = folder / "predictions.csv"
        self.photos.mkdir()
        self.settings = Settings(
            wait_seconds=2,
            retry_seconds=5,
            settle_seconds=0,
            database_url=f"sqlite:///{folder}/predictions.db",
        )

    def add(self, *names: str, length: int = 21) -> None:
        """Write photos, each with a content of its own of about `length` bytes."""
        for name in names:
            path = self.photos / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(os.fsencode(name).ljust(length, b"."))

    def night(self, service: fake.FakeService, **options: object) -> batch.Counts:
        chosen = {
            name: options.pop(name) for name in ("archive", "expected", "fresh") if name in options
        }
        settings = replace(self.settings, service_url=service.url, **options)
        return batch.run(self.photos, self.output, settings, **chosen)

    def cut_short(
        self,
        service: fake.FakeService,
        step: str = "garments.store.runs.Runs.finish",
        **options: object,
    ) -> None:
        """A night that is interrupted at one of its last steps."""

        def interrupted(*_: object) -> None:
            raise KeyboardInterrupt

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(step, interrupted)
            with pytest.raises(KeyboardInterrupt):
                self.night(service, **options)

    @contextmanager
    def failing_to_remove(self, name: str, error: BaseException) -> Iterator[None]:
        """Within it the archive has that photo, and raises `error` when it would remove it here."""
        with pytest.MonkeyPatch.context() as patch:
            failing = failing_at(self.photos / name, error, os.unlink)
            patch.setattr("garments.batch.archive.os.unlink", failing)
            yield

    def killed_at(self, name: str, service: fake.FakeService, archive: Path) -> None:
        """A night that is interrupted when it would remove that photo, which the archive has."""
        killed = self.failing_to_remove(name, KeyboardInterrupt())
        with killed, pytest.raises(KeyboardInterrupt):
            self.night(service, archive=archive)

    def rows(self) -> dict[str, str]:
        """The decision on each file."""
        return {row.filename: row.decision for row in read_predictions(self.output, 10)}


def failing_at(
    path: Path, error: BaseException, carry_out: Callable[..., object]
) -> Callable[..., object]:
    """`carry_out`, but for `path`, where it raises `error`."""

    def guarded(given: bytes, *others: object, **named: object) -> object:
        if given == os.fsencode(path):
            raise error
        return carry_out(given, *others, **named)

    return guarded


def changing_to(version: str, monkeypatch: pytest.MonkeyPatch) -> fake.Behaviour:
    """Answer as a model of that version does, and from then on whatever is asked."""

    def answer(handler: fake.Handler, pictures: list[bytes]) -> None:
        monkeypatch.setitem(fake.MODEL, "version", version)
        fake.answer(handler, pictures)

    return answer


def altered_in_secret(path: Path) -> None:
    """Give a file another content, but neither another size nor another time."""
    status = path.stat()
    path.write_bytes(b"b" * status.st_size)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


DENIED = PermissionError(errno.EACCES, "Permission denied")


def stay_apart(source: bytes, target: bytes, **_: object) -> None:
    raise OSError(errno.EXDEV, "Invalid cross-device link")


def slips(place: Place, *lines: str) -> Path:
    path = place.output.parent / "returns.csv"
    path.write_text("\n".join(["filename,expected", *lines]), encoding="utf-8")
    return path


def expected(place: Place) -> dict[str, str]:
    return {row.filename: row.expected for row in read_predictions(place.output, 10)}


def files(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@contextmanager
def growing(path: Path) -> Iterator[None]:
    """Write to a file, a little at a time."""
    stopped = threading.Event()
    before = path.stat().st_size

    def write() -> None:
        while not stopped.wait(0.01):
            with path.open("ab") as file:
                file.write(b"x")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        until(lambda: path.stat().st_size > before)
        yield
    finally:
        stopped.set()
        writer.join()


def no_lock(_: Store) -> None:
    raise StoreError("the lock is lost")


def report(place: Place) -> str:
    return (place.output.parent / "report.html").read_text(encoding="utf-8")


def review(place: Place, name: str, answer: int | None) -> int:
    """Decide on a photo as a person does; the number of that decision."""
    digest = hashlib.sha256((place.photos / name).read_bytes()).digest()
    with closing(Database(place.settings.database_url)) as base:
        return Reviews(base).decide(Decision(f"{name} {answer}", digest, answer, "Ana")).id


def _queue(place: Place) -> list[Item]:
    with closing(Database(place.settings.database_url)) as base:
        return Queue(base).take("tab", "Ana", 1000)


def waiting(place: Place) -> list[tuple[str, str]]:
    """Names and kinds of the photos that wait for people, the first first."""
    return [(os.fsdecode(item.name), item.kind) for item in _queue(place)]


def waiting_in(place: Place) -> list[Path]:
    """Where the photos are that wait for people."""
    return [Path(os.fsdecode(item.directory)) for item in _queue(place)]
