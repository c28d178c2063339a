"""What one night leaves for the next, and what it refuses."""

import errno
import fcntl
import hashlib
import io
import itertools
import os
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as how
from hypothesis import strategies as st
from PIL import Image

from garments import batch
from garments.batch import archive as archives
from garments.batch.photo import thumbnail
from garments.predictions import read_predictions
from garments.settings import Settings
from garments.store import Busy, Database, Store, StoreError
from garments.store.archived import Archived
from garments.store.nights import Nights
from garments.store.queue import Queue
from garments.store.reviews import Decision, Reviews
from tests import fake_service as fake
from tests.conftest import script
from tests.fake_service import fake_service
from tests.pictures import encoded
from tests.test_reviews import settle


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


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_second_night_sends_only_what_is_new(place: Place) -> None:
    place.add("a.png", "b.png")
    with fake_service() as service:
        assert place.night(service).posted == 2
        place.add("c.png")
        counts = place.night(service)
        assert service.requests == [2, 1]
    assert (counts.found, counts.posted) == (3, 1)
    assert place.rows().keys() == {"a.png", "b.png", "c.png"}


def test_a_changed_photo_is_sent_again(place: Place) -> None:
    place.add("a.png", "b.png")
    with fake_service() as service:
        place.night(service)
        before = place.rows()["a.png"]
        place.add("a.png", length=22)
        assert place.night(service).posted == 1
    assert (before, place.rows()["a.png"]) == ("accept", "review")


def test_a_photo_of_the_same_size_and_time_but_of_another_content_is_sent(place: Place) -> None:
    place.add("a.png")
    with fake_service() as service:
        place.night(service)
        altered_in_secret(place.photos / "a.png")
        assert place.night(service).posted == 1


def test_a_content_is_sent_once_whatever_its_names(place: Place) -> None:
    place.add("a.png")
    for name in ("b.png", "c.png"):
        (place.photos / name).write_bytes((place.photos / "a.png").read_bytes())
    with fake_service() as service:
        assert place.night(service).posted == 1
        (place.photos / "a.png").rename(place.photos / "d.png")
        assert place.night(service).posted == 0
    assert place.rows() == dict.fromkeys(("b.png", "c.png", "d.png"), "accept")


def test_a_photo_that_was_taken_away_has_no_row_any_more(place: Place) -> None:
    place.add("a.png", "b.png", "c/d.png")
    with fake_service() as service:
        place.night(service)
        (place.photos / "a.png").unlink()
        counts = place.night(service)
    assert (counts.found, counts.posted) == (2, 0)
    assert place.rows().keys() == {"b.png", "c/d.png"}


def test_a_fresh_night_sends_all(place: Place) -> None:
    place.add("a.png", "b.png")
    with fake_service() as service:
        place.night(service)
        assert place.night(service, fresh=True).posted == 2


def test_another_version_of_the_model_is_sent_all(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.add("a.png", "b.png")
    with fake_service() as service:
        place.night(service)
        monkeypatch.setitem(fake.MODEL, "version", "ba9876543210")
        assert place.night(service).posted == 2
    rows = read_predictions(place.output, 10)
    assert {row.model for row in rows} == {"fashion-mnist@ba9876543210"}


def test_a_model_that_changes_during_the_night_answers_for_all(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = changing_to("ba9876543210", monkeypatch)
    place.add(*(f"{number}.png" for number in range(6)))
    with fake_service([fake.answer, fake.answer, newer]) as service:
        place.night(service, batch_size=1, connections=1)
    rows = read_predictions(place.output, 10)
    assert {row.model for row in rows} == {"fashion-mnist@ba9876543210"}
    assert len(rows) == 6


def test_a_fresh_night_asks_a_new_model_only_for_what_the_old_one_answered(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = changing_to("ba9876543210", monkeypatch)
    place.add(*(f"{number}.png" for number in range(6)))
    with fake_service([fake.answer, fake.answer, newer]) as service:
        place.night(service, fresh=True, batch_size=1, connections=1)
        assert sum(service.requests) == 6 + 2


def test_a_model_that_comes_back_during_the_night_answers_for_all(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = fake.MODEL["version"]
    older, newer = (changing_to(version, monkeypatch) for version in (before, "ba9876543210"))
    place.add(*(f"{number}.png" for number in range(6)))
    with fake_service([older, newer, newer, older]) as service:
        counts = place.night(service, batch_size=1, connections=1)
        assert sum(service.requests) == 8
    assert {row.model for row in read_predictions(place.output, 10)} == {f"fashion-mnist@{before}"}
    assert counts.posted == 6


def test_a_refusal_that_names_no_model_is_no_other_model(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse_one_late(handler: fake.Handler, pictures: list[bytes]) -> None:
        monkeypatch.setitem(fake.MODEL, "version", "ba9876543210")
        if b"x.png" in pictures[0]:
            time.sleep(0.2)
            fake.status(422, "damaged")(handler, pictures)
        else:
            fake.answer(handler, pictures)

    place.add("a.png", "b.png", "x.png")
    with fake_service(otherwise=refuse_one_late) as service:
        counts = place.night(service, batch_size=1, connections=3)
        assert len(service.requests) == 4  # that of x.png once more
    assert (counts.accept, counts.unreadable) == (2, 1)


def test_a_model_that_keeps_changing_ends_the_night(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = iter(range(100))

    def flap(handler: fake.Handler, pictures: list[bytes]) -> None:
        monkeypatch.setitem(fake.MODEL, "version", f"{next(versions):012}")
        fake.answer(handler, pictures)

    place.add("a.png", "b.png")
    with (
        fake_service([flap] * 99) as service,
        pytest.raises(batch.ServiceError, match="keeps changing its model"),
    ):
        place.night(service, batch_size=1, connections=1)
    assert not place.output.exists()


def test_an_interrupted_night_goes_on_where_it_stopped(place: Place) -> None:
    place.add(*(f"{number}.png" for number in range(10)))
    with fake_service([fake.answer] * 6 + [fake.status(404)]) as service:
        with pytest.raises(batch.UsageError):
            place.night(service, batch_size=1, connections=1)
        assert place.night(service).posted in (3, 4)  # the eighth may have been on its way
    assert len(place.rows()) == 10


def test_what_the_service_cannot_read_is_not_sent_again(place: Place) -> None:
    place.add("a.png")
    with fake_service([fake.status(422, "damaged")]) as service:
        place.night(service)
        counts = place.night(service)
        assert service.requests == [1]
    assert (counts.unreadable, counts.posted) == (1, 0)


@pytest.mark.parametrize("fresh", [False, True])
def test_what_made_the_service_fail_is_sent_again(fresh: bool, place: Place) -> None:
    place.add("a.png")
    with fake_service([fake.status(500, "boom")]) as service:
        assert place.night(service).unreadable == 1
        assert place.night(service, fresh=fresh).accept == 1


def test_a_failure_on_a_fresh_night_does_not_bring_back_the_old_answer(place: Place) -> None:
    place.add("a.png")
    with fake_service([fake.answer, fake.status(500, "boom")]) as service:
        place.night(service)
        assert place.night(service, fresh=True).unreadable == 1
        assert place.night(service).accept == 1


def test_a_file_larger_than_a_request_is_not_read(place: Place) -> None:
    place.add("a.png")
    with fake_service() as service:
        assert place.night(service, max_request_bytes=20).unreadable == 1
    (row,) = read_predictions(place.output, 10)
    assert row.error == "the file cannot be read: it has more than 20 bytes"


def test_a_file_as_large_as_a_request_may_be_is_sent(place: Place) -> None:
    place.add("a.png", length=21)
    with fake_service() as service:
        assert place.night(service, max_request_bytes=21).accept == 1


# Files that are still being written


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
        while path.stat().st_size == before:
            time.sleep(0.01)
        yield
    finally:
        stopped.set()
        writer.join()


def test_a_file_that_is_still_being_written_is_left_for_the_next_night(place: Place) -> None:
    place.add("a.png", "b.png")
    with fake_service() as service:
        with growing(place.photos / "b.png"):
            counts = place.night(service, settle_seconds=0.3)
        assert (counts.found, counts.accept + counts.review, counts.left) == (2, 1, 1)
        assert place.rows().keys() == {"a.png"}
        assert "1 still being written" in str(counts)
        assert place.night(service).left == 0
    assert place.rows().keys() == {"a.png", "b.png"}


def test_the_slip_of_a_photo_that_is_left_is_remembered(place: Place, tmp_path: Path) -> None:
    place.add("a.png")
    slips = tmp_path / "slips.csv"
    slips.write_text("filename,expected\na.png,Dress\n")
    with fake_service() as service:
        with growing(place.photos / "a.png"):
            assert place.night(service, settle_seconds=0.3, expected=slips).left == 1
        place.night(service)
    (row,) = read_predictions(place.output, 10)
    assert row.expected == "Dress"


def test_a_folder_that_is_empty_of_a_sudden_is_told_and_nothing_is_forgotten(
    place: Place, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place.add("a.png")
    slips = tmp_path / "slips.csv"
    slips.write_text("filename,expected\na.png,Dress\n")
    with fake_service() as service:
        place.night(service, expected=slips)
        place.photos.rename(tmp_path / "elsewhere")
        place.photos.mkdir()
        counts = place.night(service)
        assert (counts.found, counts.carried) == (0, 0)
        assert place.output.read_text().count("\n") == 1  # the header
        assert "see that it is mounted" in caplog.text
        place.photos.rmdir()
        (tmp_path / "elsewhere").rename(place.photos)
        assert place.night(service).posted == 0
    (row,) = read_predictions(place.output, 10)
    assert row.expected == "Dress"


def test_a_file_that_was_just_finished_is_waited_for(place: Place) -> None:
    place.add("a.png")
    with fake_service() as service:
        counts = place.night(service, settle_seconds=0.5)
    assert (counts.accept, counts.left) == (1, 0)
    assert counts.seconds >= 0.5


def test_a_file_that_was_replaced_since_it_was_found_is_sent_as_it_is_now(place: Place) -> None:
    def replaced(handler: fake.Handler, pictures: list[bytes]) -> None:
        place.add("a.png", length=22)
        fake.answer_golden(handler, pictures)

    place.add("a.png")
    with fake_service(golden=replaced) as service:
        counts = place.night(service)
    assert (counts.accept, counts.review, counts.left) == (0, 1, 0)


def test_a_file_that_is_being_replaced_has_no_row_from_before(place: Place) -> None:
    place.add("a.png", "b.png")
    with fake_service() as service:
        place.night(service)
        with growing(place.photos / "b.png"):
            place.night(service, settle_seconds=0.3)
    assert place.rows().keys() == {"a.png"}


@pytest.mark.parametrize("offset", [-10.0 * 365 * 86400, 10.0 * 365 * 86400])
def test_a_clock_that_was_wrong_keeps_no_photo_out(offset: float, place: Place) -> None:
    place.add("a.png")
    then = time.time() + offset
    os.utime(place.photos / "a.png", (then, then))
    with fake_service() as service:
        assert place.night(service, settle_seconds=2).accept == 1
        assert place.night(service, settle_seconds=2).posted == 0


# One at a time


def test_a_second_night_leaves_with_code_4_and_says_who_is_at_it(place: Place) -> None:
    place.add("a.png")
    with fake_service() as service, Store(place.settings.database_url).locked():
        with pytest.raises(Busy):
            place.night(service)
        done = script(
            *("batch_request.py", place.photos, "--output", place.output, "--url", service.url),
            GARMENTS_DATABASE_URL=place.settings.database_url,
        )
        assert service.requests == []
    assert done.returncode == 4
    assert f"another night is running: process {os.getpid()} on " in done.stderr


def test_a_link_to_the_database_is_locked_like_it(place: Place) -> None:
    place.add("a.png")
    link = place.output.parent / "link.db"
    link.symlink_to("predictions.db")
    store = Store(place.settings.database_url)
    with fake_service() as service, store.locked(), pytest.raises(Busy):
        place.night(service, database_url=f"sqlite:///{link}")


def test_a_night_whose_lock_is_lost_writes_no_table(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.add("a.png")
    with fake_service() as service:
        place.night(service)
        place.output.write_text("another night's")
        monkeypatch.setattr(Store, "check_lock", no_lock)
        with pytest.raises(StoreError, match="the lock is lost"):
            place.night(service)  # which has nothing to record, where it would find out too
    assert place.output.read_text() == "another night's"


def no_lock(_: Store) -> None:
    raise StoreError("the lock is lost")


@pytest.mark.parametrize(
    ("output", "told"),
    [
        ("predictions.db", "predictions.db would be written over"),
        ("predictions.db-wal", "predictions.db-wal would be written over"),
        ("predictions.db.lock", "predictions.db.lock would be written over"),
        ("slips.csv", "slips.csv would be written over"),
        ("link.csv", "slips.csv would be written over"),
        ("report.html", "report.html is where the report goes"),
    ],
)
def test_a_table_takes_no_place_of_what_is_needed(output: str, told: str, place: Place) -> None:
    place.add("a.png")
    folder = place.output.parent
    slips = folder / "slips.csv"
    slips.write_text("filename,expected\na.png,Coat\n")
    (folder / "link.csv").symlink_to("slips.csv")
    with fake_service() as service:
        place.night(service)
        before = (folder / "predictions.db").read_bytes()
        with pytest.raises(batch.UsageError, match=told):
            batch.run(place.photos, folder / output, place.settings, expected=slips)
    assert (folder / "predictions.db").read_bytes() == before
    assert slips.read_text().startswith("filename")


def test_nor_that_of_slips_that_are_a_link_to_it(place: Place) -> None:
    place.add("a.png")
    place.output.write_text("filename,expected\na.png,Coat\n")
    link = place.output.with_name("slips.csv")
    link.symlink_to(place.output.name)
    told = pytest.raises(batch.UsageError, match="slips.csv would be written over")
    with fake_service() as service, told:
        place.night(service, expected=link)
    assert link.read_text() == "filename,expected\na.png,Coat\n"


def test_a_table_that_is_a_link_is_written_where_it_leads(place: Place) -> None:
    place.add("a.png")
    share = place.output.parent / "share"
    share.mkdir()
    place.output.symlink_to("share/table.csv")
    with fake_service() as service:
        for _ in range(2):  # the first one finds no file there
            place.night(service)
    assert place.output.is_symlink()
    assert {entry.name for entry in share.iterdir()} == {"table.csv", "report.html"}
    assert place.rows().keys() == {"a.png"}


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("nowhere/table.csv", "nowhere is no folder: make it"),
        ("predictions.csv", "cannot be written: choose another"),
        ("photos", "cannot be written: choose another"),
        ("photos/a.png", "has the name of an image"),
        ("report.html", "is where the report goes"),
        ("predictions.db", "predictions.db would be written over"),
    ],
)
def test_a_link_to_where_no_table_can_be_is_refused(target: str, told: str, place: Place) -> None:
    place.add("a.png")
    place.output.symlink_to(target)
    with fake_service() as service, pytest.raises(batch.UsageError, match=told):
        place.night(service)
    assert (place.photos / "a.png").read_bytes().startswith(b"a.png")


def test_so_is_one_that_has_the_name_of_an_image_wherever_it_leads(place: Place) -> None:
    link = place.output.with_name("table.png")
    link.symlink_to(place.output.name)
    told = pytest.raises(batch.UsageError, match="table.png has the name of an image")
    with fake_service() as service, told:
        batch.run(place.photos, link, replace(place.settings, service_url=service.url))


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("nowhere/report.html", "nowhere is no folder: make it"),
        ("photos/a.png", "a.png has the name of an image"),
        ("predictions.csv", "is where the report goes"),
    ],
)
def test_so_is_one_to_where_no_report_can_be(target: str, told: str, place: Place) -> None:
    place.add("a.png")
    place.output.with_name("report.html").symlink_to(target)
    with fake_service() as service, pytest.raises(batch.UsageError, match=told):
        place.night(service)
    assert not place.output.exists()


def test_the_lock_is_free_after_a_night(place: Place) -> None:
    place.add("a.png")
    with fake_service() as service:
        place.night(service)
    with open(f"{place.output.parent}/predictions.db.lock") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


# A service that fails


@pytest.mark.parametrize(
    "behaviour",
    [
        fake.cut,
        fake.cut_in_the_headers,
        fake.cut_in_the_body,
        fake.junk,
        fake.swapped,
        fake.slow,
        fake.status(500),
        fake.status(502),
        fake.status(503),
    ],
    ids=lambda behaviour: getattr(behaviour, "__name__", ""),
)
def test_a_failure_at_any_request_costs_no_photo(behaviour: fake.Behaviour, place: Place) -> None:
    place.add(*(f"{number}.png" for number in range(6)))
    for good in range(4):
        with fake_service([fake.answer] * good + [behaviour]) as service:
            place.night(service, fresh=True, batch_size=2, connections=1, timeout_seconds=0.4)
        assert len(place.rows()) == 6
        assert set(place.rows().values()) <= {"accept", "review"}


def test_a_service_that_dies_and_comes_back_costs_no_photo(place: Place) -> None:
    place.add(*(f"{number}.png" for number in range(10)))
    dead = fake.Dead()
    with ThreadPoolExecutor(1) as pool:
        with fake_service([fake.answer] * 3, golden=dead.golden, otherwise=dead) as service:
            night = pool.submit(place.night, service, batch_size=1, connections=1)
            assert dead.dead.wait(10)
        time.sleep(0.5)
        with fake_service(port=int(service.url.rpartition(":")[2])):
            assert night.result(30).found == 10
    assert len(place.rows()) == 10


def test_a_clock_that_jumps_costs_no_photo(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.add(*(f"{number}.png" for number in range(10)))
    now = time.time()
    jumps = itertools.cycle([now, now + 86_400, now - 86_400, 0.0])
    monkeypatch.setattr("garments.batch.photo.time.time", lambda: next(jumps))
    with fake_service() as service:
        counts = place.night(service, settle_seconds=0.2)
    assert (counts.found, counts.left, len(place.rows())) == (10, 0, 10)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small file system")
def test_a_disk_that_is_full_ends_the_night_and_the_next_has_all(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = ["mount", "-t", "tmpfs", "-o", "size=400k", "none", disk]
    if subprocess.run(mounted, check=False, capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a small file system")
    try:
        place = Place(disk)
        place.add("a.png", "b.png")
        with fake_service() as service:
            place.night(service)
            place.add(*(f"{number}.png" for number in range(5)))
            with suppress(OSError), (disk / "filler").open("wb", buffering=0) as filler:
                while filler.write(b"x" * 4096):
                    pass
            before = place.output.read_bytes()
            with pytest.raises((StoreError, batch.UsageError, batch.AfterwardsError)):
                place.night(service, fresh=True)
            assert place.output.read_bytes() == before
            (disk / "filler").unlink()
            place.night(service)
        assert len(place.rows()) == 7
    finally:
        subprocess.run(["umount", disk], check=True)


# The picture that tests the service


SHOE = int(np.argmax(fake.CARD.golden_probabilities))
SURE = max(fake.CARD.golden_probabilities)


def golden(**changes: object) -> fake.Behaviour:
    """Answer the picture that tests the service, but not as the card does."""

    def behave(handler: fake.Handler, _: list[bytes]) -> None:
        model = {name: changes.pop(name, fake.MODEL[name]) for name in ("name", "version")}
        entry = {
            "filename": "0",
            "prediction": SHOE,
            "label": fake.CARD.labels[SHOE],
            "decision": "accept",
        }
        entry |= {"confidence": SURE, "top": [], **changes}
        fake.send_json(handler, {"model": model, "predictions": [entry]})

    return behave


def unreadable(handler: fake.Handler, _: list[bytes]) -> None:
    fake.status(422, "no picture")(handler, [])


@pytest.mark.parametrize(
    ("behaviour", "told"),
    [
        (golden(prediction=3, label="Dress"), "takes a picture of '.*' for 'Dress'"),
        (golden(confidence=0.4), "its confidence is off by 0.6"),
        (golden(confidence=SURE - 0.02), "its confidence is off by 0.02"),
        (golden(name="shoes"), "answers with the model 'shoes'.*set GARMENTS_MODEL"),
        (golden(version="0", prediction=3, label="Dress"), "takes a picture of '.*' for 'Dress'"),
        (unreadable, "answers with 'no picture'"),
    ],
)
def test_a_service_that_answers_nonsense_ends_the_night(
    behaviour: fake.Behaviour, told: str, place: Place
) -> None:
    place.add("a.png")
    with fake_service(golden=behaviour) as service:
        with pytest.raises(batch.ServiceError, match=told):
            place.night(service)
        assert service.requests == []
    assert not place.output.exists()


def test_another_version_may_be_less_sure_of_the_picture_that_tests_it(place: Place) -> None:
    place.add("a.png")
    with fake_service(golden=golden(version="0", confidence=0.4)) as service:
        assert place.night(service).accept == 1


def test_the_same_version_may_differ_in_the_last_digits(place: Place) -> None:
    place.add("a.png")
    with fake_service(golden=golden(confidence=SURE - 0.005)) as service:
        assert place.night(service).accept == 1


def test_a_night_without_the_model_s_card_is_refused(place: Place) -> None:
    with fake_service() as service, pytest.raises(batch.UsageError, match="its model's card"):
        place.night(service, model="none")


# Return slips


def slips(place: Place, *lines: str) -> Path:
    path = place.output.parent / "returns.csv"
    path.write_text("\n".join(["filename,expected", *lines]), encoding="utf-8")
    return path


def expected(place: Place) -> dict[str, str]:
    return {row.filename: row.expected for row in read_predictions(place.output, 10)}


@pytest.mark.parametrize("written", ["T-shirt/top", "t-SHIRT / top", " 0 ", "T-shirt/Top"])
def test_a_category_is_understood_however_it_is_written(written: str, place: Place) -> None:
    place.add("a.png", "b.png")
    with fake_service() as service:
        place.night(service, expected=slips(place, f"a.png,{written}"))
    assert expected(place) == {"a.png": "T-shirt/top", "b.png": ""}


def test_what_a_slip_says_is_remembered(place: Place) -> None:
    place.add("a.png")
    with fake_service() as service:
        place.night(service, expected=slips(place, "a.png,Dress"))
        place.night(service)
        assert expected(place) == {"a.png": "Dress"}
        place.night(service, expected=slips(place, "a.png,Coat"))
    assert expected(place) == {"a.png": "Coat"}


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (
            ["a.png,Hat"],
            "line 2: 'Hat' is no category: a category is one of T-shirt/top, .*, or 0 to 9; leave",
        ),
        (["a.png,Dress", "b.png,10"], "line 3: '10' is no category"),
        (["a.png,Dress", "./a.png,Coat"], "line 3: './a.png' stands twice"),
        (["a.png"], "line 2: there must be a filename and what is expected"),
        ([",Dress"], "line 2: there must be a filename"),
        (['"a.png,Dress'], "is no CSV in UTF-8"),
        (["a.png,Hat", "b.png,Dress", "c.png,Cap"], "line 2: 'Hat' is no.*; line 4: 'Cap' is no"),
        ([f"{n}.png,Hat" for n in range(5)], "line 6: 'Hat' is no category: a category is"),
        ([f"{n}.png,Hat" for n in range(1_006)], "line 6: 'Hat' .*; and 1,001 lines more: a cat"),
    ],
)
def test_a_slip_that_is_not_understood_is_refused_by_line(
    lines: list[str], told: str, place: Place
) -> None:
    place.add("a.png")
    with fake_service() as service:
        with pytest.raises(batch.UsageError, match=told):
            place.night(service, expected=slips(place, *lines))
        assert service.requests == []


def test_slips_that_name_no_photo_are_told(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    place.add("a.png")
    with fake_service() as service:
        place.night(service, expected=slips(place, "b.png,Dress", "a.png,Dress", "B.png,Coat"))
    told = "2 return slips name no photo that is there, the first 'B.png'"
    assert told in caplog.messages


def test_slips_are_remembered_however_many_they_are(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("garments.batch.night._SLIPS_AT_ONCE", 2)
    names = [f"{number}.png" for number in range(5)]
    place.add(*names)
    with fake_service() as service:
        place.night(service, expected=slips(place, *(f"{name},Coat" for name in names)))
    assert expected(place) == dict.fromkeys(names, "Coat")


def test_slips_as_a_spreadsheet_saves_them_are_understood(place: Place) -> None:
    place.add("a.png", "b\r\nc.png")
    path = place.output.parent / "returns.csv"
    lines = ("filename,expected", "a.png,Dress", '"b\r\nc.png",Coat', "")
    path.write_bytes("\r\n".join(lines).encode("utf-8-sig"))
    with fake_service() as service:
        place.night(service, expected=path)
    assert sorted(expected(place).values()) == ["Coat", "Dress"]


def test_slips_without_the_columns_are_refused(place: Place) -> None:
    path = place.output.parent / "returns.csv"
    path.write_text("filename;expected\n")
    told = "line 1: the header must name filename,expected, with a comma.*is 'filename;expected'"
    with fake_service() as service, pytest.raises(batch.UsageError, match=told):
        place.night(service, expected=path)


def test_slips_in_another_encoding_are_refused(place: Place) -> None:
    path = place.output.parent / "returns.csv"
    path.write_text("filename,expected\na.png,Dress\n", encoding="utf-16")
    told = "is no CSV in UTF-8 .*: save it as one"
    with fake_service() as service, pytest.raises(batch.UsageError, match=told):
        place.night(service, expected=path)


def test_missing_slips_are_told(place: Place) -> None:
    with fake_service() as service, pytest.raises(batch.UsageError, match="cannot be read: No"):
        place.night(service, expected=Path("none.csv"))


def test_slips_are_read_before_a_million_photos_are_looked_for(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("garments.batch.night.walk", lambda *_: pytest.fail("it was walked"))
    with fake_service() as service, pytest.raises(batch.UsageError, match="cannot be read: No"):
        place.night(service, expected=Path("none.csv"))


# Names


@pytest.mark.long
@pytest.mark.slow
@how(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    names=st.sets(
        st.one_of(
            st.binary(min_size=1, max_size=60),
            st.text(min_size=1, max_size=20).map(lambda text: text.encode("utf-8", "ignore")),
            st.sampled_from(
                [b"=1+1", b"+x", b"-x", b"@x", b"\tx", b"\rx", b"file:x", b'"', b"a\nb"]
            ),
        ).filter(lambda name: name and not {0, ord("/")} & {*name}),
        min_size=50,
        max_size=80,
    )
)
def test_every_name_survives_to_the_table_and_back(
    names: set[bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = Place(tmp_path_factory.mktemp("names"))
    files = {name + b".png" for name in names}
    for name in files:
        with open(os.path.join(os.fsencode(place.photos), name), "wb") as file:
            file.write(name.ljust(20))
    with fake_service() as service:
        place.night(service)
    assert {os.fsencode(name) for name in place.rows()} == files


# The archive


def stay_apart(source: bytes, target: bytes, **_: object) -> None:
    raise OSError(errno.EXDEV, "Invalid cross-device link")


@pytest.fixture(params=["linked", "copied"])
def archive(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Path:
    """A folder on the same file system, or as on another."""
    if request.param == "copied":
        monkeypatch.setattr("garments.batch.archive.os.link", stay_apart)
    return tmp_path / "archive"


def files(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_classified_photos_are_moved_once_the_table_is_written(place: Place, archive: Path) -> None:
    place.add("a.png", "b/c.png", "notes.txt")
    before = files(place.photos)
    with fake_service() as service:
        counts = place.night(service, archive=archive)
    assert (counts.archived, counts.stuck) == (2, 0)
    assert place.rows().keys() == {"a.png", "b/c.png"}
    assert files(place.photos).keys() == {"notes.txt"}
    assert files(archive) | files(place.photos) == before


def test_a_pipe_under_the_name_of_a_photo_holds_nothing_up(place: Place, archive: Path) -> None:
    place.add("a.png")
    archive.mkdir()
    os.mkfifo(archive / "a.png")
    with fake_service() as service:
        assert place.night(service, archive=archive).archived == 1
    (kept,) = archive.glob("a-*.png")
    assert kept.is_file()
    assert not files(place.photos)


def test_unreadable_and_unfinished_photos_stay(place: Place, archive: Path) -> None:
    place.add("a.png", "b.png", "c.png")
    with (
        fake_service([fake.status(422, "damaged")]) as service,
        growing(place.photos / "c.png"),
    ):
        counts = place.night(
            service, archive=archive, batch_size=1, connections=1, settle_seconds=0.3
        )
    assert (counts.unreadable, counts.archived, counts.left) == (1, 1, 1)
    assert files(place.photos).keys() == {"a.png", "c.png"}


def test_a_photo_that_changed_since_it_was_classified_stays(place: Place, archive: Path) -> None:
    place.add("a.png", "b.png")

    def change(*_: object) -> None:
        place.add("a.png", length=30)

    with fake_service() as service, pytest.MonkeyPatch.context() as patch:
        patch.setattr("garments.batch.night.write_report", change)
        assert place.night(service, archive=archive).archived == 1
    assert files(place.photos).keys() == {"a.png"}


def test_nothing_in_the_archive_is_overwritten(place: Place, archive: Path) -> None:
    place.add("a.png")
    (archive / "b").mkdir(parents=True)
    (archive / "a.png").write_text("another")
    content = (place.photos / "a.png").read_bytes()
    with fake_service() as service:
        assert place.night(service, archive=archive).archived == 1
    marked = f"a-{hashlib.sha256(content).hexdigest()[:12]}.png"
    assert files(archive) == {"a.png": b"another", marked: content}


def test_a_move_that_was_cut_short_is_finished(place: Place, archive: Path) -> None:
    place.add("a.png", "b.png")
    before = files(place.photos)
    archive.mkdir()
    (archive / "a.png").write_bytes(before["a.png"])
    with fake_service() as service:
        assert place.night(service, archive=archive).archived == 2
    assert (files(archive), files(place.photos)) == (before, {})


def test_what_a_night_archived_before_it_was_cut_short_is_in_the_next_table(
    place: Place, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.add("a.png", "b.png", "c.png")
    killed = failing_at(place.photos / "b.png", KeyboardInterrupt(), os.unlink)
    with fake_service() as service:
        with monkeypatch.context() as patch:
            patch.setattr("garments.batch.archive.os.unlink", killed)
            with pytest.raises(KeyboardInterrupt):
                place.night(service, archive=archive)
        assert files(place.photos).keys() == {"b.png", "c.png"}
        place.add("d.png")
        counts = place.night(service, archive=archive)
        assert (counts.found, counts.accept, counts.carried) == (3, 3, 1)
        assert "1 photo that the night before archived" in report(place)
        assert place.rows() == dict.fromkeys(("a.png", "b.png", "c.png", "d.png"), "accept")
        place.add("e.png")
        assert place.night(service, archive=archive).carried == 0
        assert place.rows() == {"e.png": "accept"}


def test_a_night_over_another_directory_hides_none_that_was_cut_short(
    place: Place, archive: Path, tmp_path: Path
) -> None:
    place.add("a.png", "b.png")
    here, others = place.photos, tmp_path / "others"
    others.mkdir()
    with fake_service() as service:
        place.cut_short(service, archive=archive)
        place.photos = others
        assert place.night(service).carried == 0
        place.photos = here
        assert place.night(service, archive=archive).carried == 2
    assert place.rows() == dict.fromkeys(("a.png", "b.png"), "accept")


def test_a_night_that_was_cut_short_is_no_matter_of_another_directory(
    place: Place, archive: Path, tmp_path: Path
) -> None:
    here, others = place.photos, tmp_path / "others"
    others.mkdir()
    with fake_service() as service:
        place.photos = others
        place.add("c.png", "d.png")
        place.night(service)
        place.photos = here
        place.add("a.png")
        place.cut_short(service, archive=archive)
        place.photos = others
        (others / "c.png").unlink()  # by a person
        assert place.night(service).carried == 0
    assert place.rows() == {"d.png": "accept"}


def test_what_a_night_archived_is_sorted_among_the_others_by_the_bytes_of_its_name(
    place: Place, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boot, odd = "🥾.png", os.fsdecode(b"\xff.png")  # as text the second would come first
    place.add(boot, odd)
    killed = failing_at(place.photos / odd, KeyboardInterrupt(), os.unlink)
    with fake_service() as service:
        with monkeypatch.context() as patch:
            patch.setattr("garments.batch.archive.os.unlink", killed)
            with pytest.raises(KeyboardInterrupt):
                place.night(service, archive=archive)
        assert place.night(service).carried == 1
    assert list(place.rows()) == [boot, odd]


def test_what_could_not_be_read_and_was_taken_away_after_a_night_cut_short_has_no_row(
    place: Place, archive: Path
) -> None:
    place.add("a.png", "b.png")
    with fake_service([fake.status(422, "damaged")]) as service:
        place.cut_short(service, archive=archive, batch_size=1, connections=1)
        (place.photos / "a.png").unlink()
        assert place.night(service).carried == 1
    assert place.rows() == {"b.png": "accept"}


def test_nor_has_it_though_a_person_had_answered_for_it(place: Place, archive: Path) -> None:
    place.add("a.png", length=22)
    place.add("b.png")
    with fake_service() as service:
        place.night(service)
        review(place, "a.png", 9)
    once = {"fresh": True, "batch_size": 1, "connections": 1}
    with fake_service([fake.status(500)]) as service:
        place.cut_short(service, archive=archive, **once)
        (place.photos / "a.png").unlink()
        assert place.night(service).carried == 1
    assert place.rows() == {"b.png": "accept"}


def test_what_a_night_archived_that_ended_is_in_no_other_table(
    place: Place, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.add("a.png", "b.png")
    with fake_service() as service:
        with monkeypatch.context() as patch:
            denied = failing_at(place.photos / "a.png", DENIED, os.unlink)
            patch.setattr("garments.batch.archive.os.unlink", denied)
            assert place.night(service, archive=archive).stuck == 1
        (place.photos / "a.png").unlink()  # as somebody does who was told
        place.add("c.png")
        assert place.night(service).carried == 0
    assert place.rows().keys() == {"c.png"}


def test_nor_is_it_though_the_night_was_killed_once_it_had_ended(
    place: Place, archive: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place.add("a.png", "b.png")
    with fake_service() as service:
        place.cut_short(service, "garments.store.Store.forget", archive=archive)  # its last step
        assert not files(place.photos)
        caplog.clear()
        assert place.night(service, archive=archive).carried == 0
        assert not [record for record in caplog.records if record.levelname == "WARNING"]
        place.add("c.png")
        assert place.night(service, archive=archive).carried == 0
    assert place.rows() == {"c.png": "accept"}


def test_what_was_archived_is_in_the_next_table_whatever_became_of_its_own(
    place: Place, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.add("a.png", "b.png")
    with fake_service() as service:
        place.cut_short(service, archive=archive)
        assert not files(place.photos)
        place.output.write_text("another night's")
        monkeypatch.setitem(fake.MODEL, "version", "ba9876543210")
        assert place.night(service, archive=archive).carried == 2
    assert place.rows() == dict.fromkeys(("a.png", "b.png"), "accept")


def test_the_slip_of_an_archived_photo_is_not_that_of_the_next_of_its_name(
    place: Place, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.add("a.png", "b.png", "c.png")
    monkeypatch.setattr("garments.batch.night._FORGOTTEN_AT_ONCE", 1)
    with fake_service() as service:
        with monkeypatch.context() as patch:
            denied = failing_at(place.photos / "c.png", DENIED, os.unlink)
            patch.setattr("garments.batch.archive.os.unlink", denied)
            told = slips(place, "a.png,Coat", "b.png,Coat", "c.png,Coat")
            assert place.night(service, archive=archive, expected=told).stuck == 1
        place.add("a.png", "b.png", length=31)
        place.night(service, archive=archive)
    assert expected(place) == {"a.png": "", "b.png": "", "c.png": "Coat"}  # which had stayed


@pytest.mark.parametrize("length", [21, 31])  # as the one before, or not
def test_nor_is_it_that_of_one_that_comes_before_the_night_is_over(
    length: int, place: Place, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.add("a.png")

    def moved(*given: Any) -> tuple[int, int]:
        counts = archive_of(*given)
        place.add("a.png", length=length)
        return counts

    archive_of = archives.archive
    with fake_service() as service:
        with monkeypatch.context() as patch:
            patch.setattr(archives, "archive", moved)
            place.night(service, archive=archive, expected=slips(place, "a.png,Coat"))
        place.night(service)
    assert expected(place) == {"a.png": ""}


def test_a_night_with_nothing_new_since_all_was_archived_is_in_order(
    place: Place, archive: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place.add("a.png", "b.png")
    with fake_service() as service:
        place.night(service, archive=archive)
        caplog.clear()
        place.night(service, archive=archive)
        counts = place.night(service, archive=archive)
    assert (counts.found, counts.archived, counts.stuck, counts.carried) == (0, 0, 0, 0)
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_so_is_one_after_what_could_not_be_read_was_taken_away(
    place: Place, archive: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place.add("a.png", "b.png")
    with fake_service([fake.status(422, "damaged")]) as service:
        place.night(service, archive=archive, batch_size=1, connections=1)
        (place.photos / "a.png").unlink()
        caplog.clear()
        assert place.night(service).found == 0
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_a_night_whose_lock_is_lost_archives_nothing(
    place: Place, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(*_: object) -> None:
        monkeypatch.setattr(Store, "check_lock", no_lock)

    place.add("a.png")
    monkeypatch.setattr("garments.batch.night.write_report", lose)
    told = pytest.raises(batch.AfterwardsError, match="csv is written; then: the lock is lost")
    with fake_service() as service, told:
        place.night(service, archive=archive)
    assert files(place.photos).keys() == {"a.png"}
    assert not files(archive)


def test_an_archive_in_a_folder_that_may_not_be_listed_is_filled(
    place: Place, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.add("a.png")
    denied = failing_at(archive.parent, DENIED, os.open)
    monkeypatch.setattr("garments.batch.archive.os.open", denied)
    with fake_service() as service:
        assert place.night(service, archive=archive).archived == 1


def test_a_photo_that_cannot_be_archived_stays_and_is_told(place: Place, tmp_path: Path) -> None:
    place.add("a.png", "b/c.png")
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / "b").write_text("no folder")
    with fake_service() as service:
        counts = place.night(service, archive=tmp_path / "archive")
    assert (counts.archived, counts.stuck, counts.amiss) == (1, 1, 1)
    assert files(place.photos).keys() == {"b/c.png"}
    assert "1 could not be archived" in str(counts)


def test_a_photo_that_cannot_be_removed_is_told_and_the_others_are_moved(
    place: Place, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.add("a.png", "b.png")
    denied = failing_at(place.photos / "a.png", DENIED, os.unlink)
    monkeypatch.setattr("garments.batch.archive.os.unlink", denied)
    with fake_service() as service:
        counts = place.night(service, archive=archive)
    assert (counts.archived, counts.stuck) == (1, 1)
    assert files(place.photos).keys() == {"a.png"}
    assert files(archive).keys() == {"a.png", "b.png"}


def test_a_full_temporary_folder_is_told(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr("garments.batch.night.Findings.add", full)
    with fake_service() as service, pytest.raises(batch.UsageError, match="is full.*TMPDIR"):
        place.night(service)


@pytest.mark.parametrize("folder", ["photos", "photos/old", "."])
def test_an_archive_that_overlaps_is_refused(folder: str, place: Place) -> None:
    place.add("a.png")
    with fake_service() as service, pytest.raises(batch.UsageError, match="overlap"):
        place.night(service, archive=place.output.parent / folder)


@pytest.mark.parametrize("folder", ["taken", "taken/of/2026"])
def test_an_archive_that_cannot_be_a_folder_is_refused_before_the_night(
    folder: str, place: Place
) -> None:
    place.add("a.png")
    taken = place.output.with_name("taken")
    taken.write_text("a file")
    told = "can take no photos: .*taken is no folder, .* choose another --archive"
    with fake_service() as service:
        with pytest.raises(batch.UsageError, match=told):
            place.night(service, archive=place.output.parent / folder)
        assert service.requests == []
    assert files(place.photos).keys() == {"a.png"}
    assert taken.read_text() == "a file"


def test_an_archive_that_may_not_be_written_is_refused_before_the_night(
    place: Place, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.add("a.png")
    archive.mkdir(exist_ok=True)
    denied = {os.fspath(archive)}
    allowed = os.access
    monkeypatch.setattr(
        "garments.batch.night.os.access",
        lambda path, mode: os.fspath(path) not in denied and allowed(path, mode),
    )
    told = f"{archive} can take no photos: .* this user may not write there"
    with fake_service() as service, pytest.raises(batch.UsageError, match=told):
        place.night(service, archive=archive)
    assert files(place.photos).keys() == {"a.png"}


# The morning report


def report(place: Place) -> str:
    return (place.output.parent / "report.html").read_text(encoding="utf-8")


def test_a_report_lies_beside_the_table(place: Place) -> None:
    place.add("a.png", "b.png", "<i>.png")
    with fake_service([fake.status(422, "damaged & lost")]) as service:
        place.night(
            *(service,),
            batch_size=1,
            connections=1,
            expected=slips(place, "a.png,Dress", "b.png,Trouser", "none.png,Bag"),
        )
    page = report(place)
    assert "&lt;i&gt;.png" in page
    assert "damaged &amp; lost" in page
    assert "<i>" not in page


def test_a_possible_wrong_item_is_counted_and_shown(place: Place) -> None:
    place.add("b.png")  # taken for class 1, a trouser
    jpeg = encoded(Image.new("L", (9, 9)), "JPEG")
    (place.photos / "a.jpg").write_bytes(jpeg.ljust(len(jpeg) // 10 * 10 + 11, b"\0"))
    with fake_service() as service:
        counts = place.night(service, expected=slips(place, "a.jpg,Dress", "b.png,Trouser"))
    assert counts.mismatched == 1
    assert "1 possible wrong items" in str(counts)
    page = report(place).partition('id="review"')[0]
    assert "a.jpg" in page
    assert "data:image/jpeg;base64," in page


def test_the_report_tells_once_that_the_new_photos_could_not_be_read(place: Place) -> None:
    place.add(*(f"{number}.png" for number in range(400)))
    with fake_service() as service:
        place.night(service)
    assert "Look at this first" not in report(place)
    place.add(*(f"new-{number}.png" for number in range(10)))
    with fake_service([fake.status(422, "damaged")] * 10) as service:
        place.night(service, batch_size=1, connections=1)
        assert "10 of 10 photos that had no answer yet could not" in report(place)
        place.add("later.png")
        place.night(service)
    assert "Look at this first" not in report(place)


def test_the_report_compares_new_photos_with_the_nights_before(place: Place) -> None:
    with fake_service() as service:
        for night, length in enumerate((21, 21, 23)):
            place.add(*(f"{night}-{number}.png" for number in range(200)), length=length)
            place.night(service)
    assert "chi-squared" in report(place)


def test_what_an_interrupted_night_had_sent_is_new_to_the_next(place: Place) -> None:
    place.add(*(f"{number}.png" for number in range(6)))
    with fake_service([fake.answer] * 4 + [fake.status(404)]) as service:
        with pytest.raises(batch.UsageError):
            place.night(service, batch_size=1, connections=1)
        place.night(service)
        place.night(service)
    nights = Nights(Database(place.settings.database_url)).last(3)
    assert [sum(night["classes"] or []) for night in nights] == [0, 6, 0]


def test_a_table_that_another_night_is_writing_is_left_to_it(place: Place) -> None:
    place.add("a.png")
    with (
        (place.output.parent / ".predictions.csv.part").open("w") as file,
        fake_service() as service,
    ):
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(Busy, match="being written by another process"):
            place.night(service)
    assert not place.output.exists()


def test_a_table_whose_place_is_not_surely_on_the_disk_is_told_so(
    place: Place, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(path: Path) -> None:
        if path == place.output.parent:
            raise OSError(errno.EIO, "Input/output error")

    place.add("a.png")
    monkeypatch.setattr("garments.predictions._sync", failing)
    told = pytest.raises(batch.AfterwardsError, match="is written, but the disk says: Input/output")
    with fake_service() as service, told:
        place.night(service, archive=archive)
    assert place.rows().keys() == files(place.photos).keys() == {"a.png"}


def test_a_fault_of_the_program_after_the_table_is_told_so(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    place.add("a.png")

    def faulty(*_: object) -> None:
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr("garments.batch.night.write_report", faulty)
    told = pytest.raises(batch.AfterwardsError, match="csv is written; then: ZeroDivisionError")
    with fake_service() as service, told:
        place.night(service)
    assert place.rows().keys() == {"a.png"}
    assert "in faulty" in caplog.text  # where in the program it was


def test_what_fails_after_the_table_is_told_so(place: Place) -> None:
    place.add("a.png")
    (place.output.parent / ".report.html.part").mkdir()
    with (
        fake_service() as service,
        pytest.raises(batch.AfterwardsError, match="predictions.csv is written; then: Is a dir"),
    ):
        place.night(service)
    assert place.rows().keys() == {"a.png"}


# Previews


def test_a_photo_for_review_is_kept_in_little(place: Place) -> None:
    (place.photos / "a.bin").touch()
    picture = encoded(Image.new("L", (80, 81)), "BMP")  # of even length
    (place.photos / "a.png").write_bytes(picture)
    with fake_service() as service:
        assert place.night(service).review == 1
    store = Store(place.settings.database_url)
    model = f"{fake.MODEL['name']}@{fake.MODEL['version']}"
    (top, small) = store.previews(os.fsencode(place.photos.resolve()), [b"a.png"], model)[b"a.png"]
    store.close()
    assert top == [["class 0", 0.3], ["class 1", 0.3], ["class 2", 0.3]]
    assert small == thumbnail(picture) is not None


def test_a_thumbnail_is_small_upright_and_on_white() -> None:
    photo = Image.new("RGBA", (400, 200), (0, 0, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6
    small = thumbnail(encoded(photo, exif=exif, compress_level=0))
    assert small is not None
    with Image.open(io.BytesIO(small)) as shown:
        assert (shown.format, shown.size) == ("JPEG", (128, 256))
        assert shown.getpixel((64, 128)) == (255, 255, 255)


def test_a_thumbnail_carries_no_comment() -> None:
    photo = Image.effect_noise((800, 600), 50)
    small = thumbnail(encoded(photo, "JPEG", comment=b"taken at Elm Street 5"))
    assert small is not None
    assert b"Elm Street" not in small


def test_a_heic_has_a_thumbnail_that_every_browser_shows() -> None:
    small = thumbnail(encoded(Image.new("RGB", (800, 600), "red"), "HEIF"))
    assert small is not None
    shown = Image.open(io.BytesIO(small))
    assert (shown.format, shown.size) == ("JPEG", (256, 192))


def test_a_small_file_is_its_own_thumbnail(boot: bytes) -> None:
    assert thumbnail(boot) == boot


@pytest.mark.parametrize("content", [b"", b"junk" * 2000, b"\x89PNG\r\n\x1a\n" + b"x" * 5000])
def test_what_cannot_be_drawn_has_no_thumbnail(content: bytes) -> None:
    assert thumbnail(content) is None


def test_the_database_knows_a_content_by_its_sha_256(place: Place) -> None:
    place.add("a.png")
    with fake_service() as service:
        place.night(service)
    store = Store(place.settings.database_url)
    digest = hashlib.sha256((place.photos / "a.png").read_bytes()).digest()
    model = f"{fake.MODEL['name']}@{fake.MODEL['version']}"
    assert store.answered([digest], model) == {digest}
    store.close()


# People


def review(place: Place, name: str, answer: int | None) -> int:
    """Decide on a photo as a person does; the number of that decision."""
    base = Database(place.settings.database_url)
    digest = hashlib.sha256((place.photos / name).read_bytes()).digest()
    made = Reviews(base).decide(Decision(f"{name} {answer}", digest, answer, "Ana"))
    base.close()
    return made.id


def waiting(place: Place) -> list[tuple[str, str]]:
    """Names and kinds of the photos that wait for people, the first first."""
    base = Database(place.settings.database_url)
    items = Queue(base).take("tab", "Ana", 1000)
    base.close()
    return [(os.fsdecode(item.name), item.kind) for item in items]


def test_what_a_person_said_stands_in_the_next_table(place: Place) -> None:
    place.add("a.png", "b.png", "c.png", length=22)  # all for review
    with fake_service() as service:
        place.night(service)
        review(place, "a.png", 9)
        review(place, "b.png", None)
        counts = place.night(service)
    assert (counts.review, counts.reviewed, counts.posted) == (1, 2, 0)
    assert "1 for review, 2 reviewed, 0 unreadable" in str(counts)
    boot, none, _ = read_predictions(place.output, 10)
    model = f"{fake.MODEL['name']}@{fake.MODEL['version']}"
    assert boot[:6] == ("a.png", "9", "Ankle boot", "", "reviewed", model)
    assert none[:5] == ("b.png", "", "none of these", "", "reviewed")
    page = (place.output.parent / "report.html").read_text()
    assert "<b>2</b> reviewed" in page
    assert "The sum does not come out" not in page


def test_what_the_model_alone_accepted_is_counted_whatever_people_say(place: Place) -> None:
    place.add("a.png", "b.png", "c.png")  # accepted
    place.add("d.png", length=22)
    with fake_service([fake.status(422, "damaged")]) as service:
        place.add("0.png")
        place.night(service, batch_size=1, connections=1)
        review(place, "a.png", 9)
        review(place, "d.png", 9)
        assert place.night(service).reviewed == 2
    nights = Nights(Database(place.settings.database_url)).last(2)
    assert [(night["model_accepts"], night["model_answers"]) for night in nights] == [(3, 4)] * 2


def test_a_new_model_does_not_undo_what_a_person_said(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.add("a.png", length=22)
    with fake_service() as service:
        place.night(service)
        review(place, "a.png", 9)
        monkeypatch.setitem(fake.MODEL, "version", "ba9876543210")
        assert place.night(service).reviewed == 1


def test_what_a_person_said_stands_though_the_service_cannot_read_it(place: Place) -> None:
    place.add("a.png", length=22)
    with fake_service() as service:
        place.night(service)
        review(place, "a.png", 9)
    with fake_service([fake.status(422, "damaged")]) as service:
        counts = place.night(service, fresh=True)
    assert (counts.reviewed, counts.unreadable) == (1, 0)


def test_doubtful_photos_wait_for_people_until_they_are_decided_on(place: Place) -> None:
    place.add("a.png", "b.png", length=22)
    place.add("c.png")
    with fake_service() as service:
        place.night(service)
        assert sorted(waiting(place)) == [("a.png", "doubtful"), ("b.png", "doubtful")]
        review(place, "a.png", 9)
        (place.photos / "b.png").unlink()
        place.night(service)
    assert waiting(place) == []


def test_a_photo_that_was_answered_for_keeps_its_place_until_that_is_settled(place: Place) -> None:
    store, base = Store(place.settings.database_url), Database(place.settings.database_url)

    def held() -> float | None:
        (outcome,) = store.outcomes(os.fsencode(place.photos.resolve()), "")
        return outcome.waiting

    place.add("a.png", length=22)
    with fake_service() as service:
        place.night(service)
        review(place, "a.png", 9)
        place.night(service)
        assert held() is not None
        settle(base)
        place.night(service)
        assert held() is None
    base.close()
    store.close()


def test_photos_wait_for_people_however_many_they_are(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("garments.batch.table._MOVED_AT_ONCE", 2)
    names = [f"{number}.png" for number in range(5)]
    place.add(*names, length=22)
    with fake_service() as service:
        place.night(service)
    assert sorted(name for name, _ in waiting(place)) == names


def test_photos_wait_for_people_in_the_archive_too(place: Place, archive: Path) -> None:
    (archive / "b").mkdir(parents=True)
    (archive / "b" / "c.png").write_text("another")
    with fake_service() as service:
        place.add("a.png", "b/c.png", length=22)
        place.add("d.png")
        assert place.night(service, archive=archive).archived == 3
        assert not files(place.photos)
        place.add("a.png", length=24)  # another photo of a name that waits already
        assert place.night(service, archive=archive).archived == 1
        place.night(service, archive=archive)
    there = files(archive).keys() - {"d.png", "b/c.png"}
    assert len(there) == 3
    assert set(waiting(place)) == {(name, "doubtful") for name in there}
    review(place, str(archive / "a.png"), 9)
    assert {name for name, _ in waiting(place)} == there - {"a.png"}


def test_an_answer_that_is_taken_back_puts_the_photo_back_where_it_waited(
    place: Place, archive: Path
) -> None:
    place.add("a.png", "b.png", length=22)
    with fake_service() as service:
        place.night(service)
        number = review(place, "a.png", 9)
        place.night(service, archive=archive)
    assert waiting(place) == [("b.png", "doubtful")]
    base = Database(place.settings.database_url)
    Reviews(base).undo(number, "Ana")
    base.close()
    assert sorted(waiting(place)) == [("a.png", "doubtful"), ("b.png", "doubtful")]


def test_what_was_answered_for_long_ago_is_archived_like_the_others(
    place: Place, archive: Path
) -> None:
    place.add("a.png", "b.png", length=22)
    base = Database(place.settings.database_url)
    with fake_service() as service:
        place.night(service)
        review(place, "a.png", 9)
        settle(base)
        assert place.night(service, archive=archive).archived == 2
    base.close()
    assert not files(place.photos)


def test_a_night_lets_go_of_what_was_answered_for_in_the_archive_long_ago(
    place: Place, archive: Path
) -> None:
    place.add("a.png", length=22)
    store = Store(place.settings.database_url)
    base = Database(place.settings.database_url)
    with fake_service() as service:
        place.night(service, archive=archive)
        review(place, str(archive / "a.png"), 9)
        place.night(service, archive=archive)
        assert [known.name for known in store.known(os.fsencode(archive), "")] == [b"a.png"]
        settle(base)
        place.night(service, archive=archive)
    assert list(store.known(os.fsencode(archive), "")) == []
    base.close()
    store.close()


def test_a_photo_waits_once_though_its_move_is_cut_short(
    place: Place, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.add("a.png", length=22)
    killed = failing_at(place.photos / "a.png", KeyboardInterrupt(), os.unlink)
    with fake_service() as service:
        with monkeypatch.context() as patch:
            patch.setattr("garments.batch.archive.os.unlink", killed)
            with pytest.raises(KeyboardInterrupt):
                place.night(service, archive=archive)
        assert waiting_in(place) == [archive]  # before it is gone from where it was
        assert place.night(service, archive=archive).archived == 1
        place.night(service, archive=archive)
    assert waiting(place) == [("a.png", "doubtful")]


def waiting_in(place: Place) -> list[Path]:
    """Where the photos are that wait for people."""
    base = Database(place.settings.database_url)
    items = Queue(base).take("tab", "Ana", 1000)
    base.close()
    return [Path(os.fsdecode(item.directory)) for item in items]


def test_the_move_to_the_archive_is_noted_on_the_disk(
    place: Place, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = []

    class Seen(Archived):
        def follow(self, directory: bytes, names: Mapping[bytes, bytes]) -> None:
            super().follow(directory, names)
            with self._database.reading() as connection:
                settings.append(connection.exec_driver_sql("PRAGMA synchronous").scalar())

    monkeypatch.setattr("garments.batch.night.Archived", Seen)
    place.add("a.png", length=22)
    with fake_service() as service:
        place.night(service, archive=archive)
    assert settings == [2]  # FULL


def test_possible_wrong_items_wait_for_people_too(place: Place) -> None:
    place.add("a.png", "b.png")  # class 1, accepted
    slips = place.output.parent / "slips.csv"
    slips.write_text("filename,expected\na.png,Coat\nb.png,1\n")
    with fake_service() as service:
        place.night(service, expected=slips)
        assert waiting(place) == []  # there is no preview of what is no picture
        picture = encoded(Image.effect_noise((80, 81), 50), "BMP") + b"x"  # of odd length
        (place.photos / "a.png").write_bytes(picture)
        assert place.night(service, expected=slips).mismatched == 1
        for _ in range(2):
            assert waiting(place) == [("a.png", "wrong")]
            place.night(service, expected=slips)
        review(place, "a.png", 4)
        assert place.night(service, expected=slips).mismatched == 0
        assert waiting(place) == []


def test_what_a_person_found_to_be_another_item_is_listed(place: Place) -> None:
    place.add("a.png", length=22)
    slips = place.output.parent / "slips.csv"
    slips.write_text("filename,expected\na.png,Coat\n")
    with fake_service() as service:
        place.night(service, expected=slips)
        review(place, "a.png", None)
        counts = place.night(service, expected=slips)
    assert (counts.reviewed, counts.mismatched) == (1, 1)
    page = (place.output.parent / "report.html").read_text()
    assert '<dd>Coat</dd><dt>Photo</dt><dd class="first">none of these</dd>' in page


def test_a_share_of_the_accepted_waits_for_people_if_so_wished(place: Place) -> None:
    names = [f"{number:02}.png" for number in range(40)]
    for number, name in enumerate(names):
        picture = Image.effect_noise((50, 60), number)
        content = encoded(picture, "BMP")
        (place.photos / name).write_bytes(content + b"x" * (len(content) % 2 == 0))
    with fake_service() as service:
        assert place.night(service).accept == 40
        assert waiting(place) == []
        place.night(service, review_sample=0.3, fresh=True)
        sample = waiting(place)
        assert 2 <= len(sample) <= 24
        assert {kind for _, kind in sample} == {"sample"}
        place.night(service, review_sample=0.3)
        assert sorted(waiting(place)) == sorted(sample)
        place.night(service)
        assert waiting(place) == []
        # Whatever their slips say: a sample without those would tell of no others.
        slips = place.output.parent / "slips.csv"
        slips.write_text("filename,expected\n" + "".join(f"{name},Coat\n" for name in names))
        assert place.night(service, review_sample=0.3, expected=slips).mismatched > 20
        kinds = dict(waiting(place))
        assert {name for name, kind in kinds.items() if kind == "sample"} == {*dict(sample)}
        assert set(kinds.values()) == {"sample", "wrong"}


def test_the_report_of_a_night_is_kept_with_its_numbers(place: Place) -> None:
    place.add("a.png", "b.png")
    with fake_service() as service:
        place.night(service)
    base = Database(place.settings.database_url)
    (run,) = Nights(base).last(9)
    report = Nights(base).report(run["id"])
    base.close()
    assert report == (place.output.parent / "report.html").read_bytes()
    assert (run["reviewed"], run["mismatched"], run["confidence"]) == (0, 0, pytest.approx(0.9))
