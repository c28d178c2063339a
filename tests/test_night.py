"""What one night leaves for the next, and what it refuses."""

import fcntl
import itertools
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, tzinfo
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as how
from hypothesis import strategies as st

from garments import batch
from garments.batch.walk import stamp_of
from garments.predictions import read_predictions
from garments.store import Busy, Stamp, Store, StoreError
from tests import fake_service as fake
from tests.conftest import PROJECT, script
from tests.fake_service import fake_service
from tests.places import (
    Place,
    altered_in_secret,
    changing_to,
    expected,
    growing,
    no_lock,
    slips,
)


def test_a_second_night_sends_only_what_is_new(place: Place) -> None:
    place.add("a.png", "b.png")
    with fake_service() as service:
        assert place.night(service).posted == 2
        place.add("c.png")
        counts = place.night(service)
        assert service.requests == [2, 1]
    assert (counts.found, counts.posted) == (3, 1)
    assert place.rows().keys() == {"a.png", "b.png", "c.png"}


def test_the_log_tells_how_fast_photos_were_sent_where_any_was(place: Place) -> None:
    place.add("a.png", "b.png")
    with fake_service() as service:
        counts = replace(place.night(service), found=900, posted=8, seconds=2.0)
    assert str(counts).endswith("8 of them sent, in 2.0 s (4 images/s)")
    assert str(replace(counts, posted=0)).endswith("0 of them sent, in 2.0 s")


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


def test_a_model_that_comes_back_once_another_was_asked_for_all_answers_for_all(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = fake.MODEL["version"]
    older, newer = (changing_to(version, monkeypatch) for version in (before, "ba9876543210"))
    place.add("a.png", "b.png")
    with fake_service([older, newer, older]) as service:
        counts = place.night(service, batch_size=1, connections=1)
        assert len(service.requests) == 4
    assert counts.accept == 2


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


def test_the_slip_of_a_photo_that_is_left_is_remembered(place: Place) -> None:
    place.add("a.png")
    told = slips(place, "a.png,Dress")
    with fake_service() as service:
        with growing(place.photos / "a.png"):
            assert place.night(service, settle_seconds=0.3, expected=told).left == 1
        place.night(service)
    assert expected(place) == {"a.png": "Dress"}


def test_a_folder_that_is_empty_of_a_sudden_is_told_and_nothing_is_forgotten(
    place: Place, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place.add("a.png")
    with fake_service() as service:
        place.night(service, expected=slips(place, "a.png,Dress"))
        place.photos.rename(tmp_path / "elsewhere")
        place.photos.mkdir()
        counts = place.night(service)
        assert (counts.found, counts.carried) == (0, 0)
        assert place.output.read_text().count("\n") == 1  # the header
        assert "see that it is mounted" in caplog.text
        page = place.output.with_name("report.html")
        assert "No photo is there any more." in page.read_text()
        place.photos.rmdir()
        (tmp_path / "elsewhere").rename(place.photos)
        assert place.night(service).posted == 0
        assert "No photo is there any more." not in page.read_text()
    (row,) = read_predictions(place.output, 10)
    assert row.expected == "Dress"


def test_the_folder_that_a_link_led_to_when_the_night_began_is_the_one(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    today, tomorrow = place.photos.with_name("today"), place.photos.with_name("tomorrow")
    today.symlink_to(place.photos)
    tomorrow.mkdir()
    place.add("a.png", length=22)
    opened = Store.open

    def opened_at_midnight(store: Store) -> None:
        today.unlink()
        today.symlink_to(tomorrow)
        opened(store)

    monkeypatch.setattr(Store, "open", opened_at_midnight)
    with fake_service() as service:
        batch.run(today, place.output, replace(place.settings, service_url=service.url))
    assert place.rows() == {"a.png": "review"}


def test_what_is_known_of_a_folder_is_known_by_whatever_way_it_is_named(place: Place) -> None:
    place.add("a.png")
    with fake_service() as service:
        place.night(service, expected=slips(place, "a.png,Coat"))
        link = place.photos.with_name("link")
        link.symlink_to(place.photos)
        place.photos = link
        place.night(service)
    assert expected(place) == {"a.png": "Coat"}


def test_a_photo_from_beyond_the_time_that_databases_know_is_a_photo(place: Place) -> None:
    place.add("a.png")
    year_2300 = 330 * 31_556_952
    os.utime(place.photos / "a.png", (year_2300, year_2300))
    with fake_service() as service:
        assert (place.night(service).posted, place.night(service).posted) == (1, 0)


def test_so_is_one_from_before_it() -> None:
    first_of_1601 = -11_644_473_600 * 10**9
    status = SimpleNamespace(st_size=1, st_mtime_ns=first_of_1601, st_ctime_ns=5)
    assert stamp_of(status) == Stamp(1, 1 - 2**63, 5)


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


@pytest.mark.parametrize("length", [250, 255, 256])
def test_a_table_whose_name_has_no_room_for_the_temporary_file_is_refused(
    length: int, place: Place
) -> None:
    place.output = place.output.with_name("p".ljust(length - 4, "_") + ".csv")
    with fake_service() as service, pytest.raises(batch.UsageError, match="csv has too long a na"):
        place.night(service)


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
        ("photos", "photos\\) is a folder: name the table"),
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


def test_a_folder_that_may_not_be_written_is_refused_before_the_night(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed, denied = os.access, place.output.parent

    def access(path: Path, mode: int) -> bool:
        return path != denied and allowed(path, mode)

    place.add("a.png")
    monkeypatch.setattr("garments.batch.outputs.os.access", access)
    told = pytest.raises(batch.UsageError, match="predictions.csv cannot be written: choose an")
    with fake_service() as service:
        with told:
            place.night(service)
        assert service.requests == []


def test_the_lock_is_free_after_a_night(place: Place) -> None:
    place.add("a.png")
    with fake_service() as service:
        place.night(service)
    with open(f"{place.output.parent}/predictions.db.lock") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


# A service that fails


@pytest.mark.usefixtures("hurried")
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
    for good in range(3):
        with fake_service([fake.answer] * good + [behaviour]) as service:
            place.night(service, fresh=True, batch_size=2, connections=1, timeout_seconds=0.4)
        assert len(service.requests) > 3  # or there was no failure
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


@pytest.fixture
def jumping(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wall clock that is off by something else whenever any module reads it."""
    real, jumps = time.time, itertools.cycle([0.0, 86_400.0, -86_400.0, -1.7e9])

    class Jumping(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:
            return datetime.fromtimestamp(time.time(), tz)

    monkeypatch.setattr("time.time", lambda: real() + next(jumps))
    for name, module in [*sys.modules.items()]:
        if name.startswith("garments.") and getattr(module, "datetime", None) is datetime:
            monkeypatch.setattr(module, "datetime", Jumping)


@pytest.mark.usefixtures("jumping")
def test_a_clock_that_jumps_costs_no_photo(place: Place, tmp_path: Path) -> None:
    place.add(*(f"{number}.png" for number in range(10)))
    with fake_service() as service:
        counts = place.night(service, settle_seconds=0.2)
        assert (counts.found, counts.left, len(place.rows())) == (10, 0, 10)
        assert place.night(service, settle_seconds=0.2, archive=tmp_path / "archive").archived == 10
    assert len(place.rows()) == 10


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


SURE = max(fake.CARD.golden_probabilities)
SHOES = {**fake.MODEL, "name": "shoes"}
NEWER = {**fake.MODEL, "version": "0"}


def golden(**changes: object) -> fake.Behaviour:
    """Answer the picture that tests the service, but not as the card does."""
    return partial(fake.answer_golden, **changes)


@pytest.mark.parametrize(
    ("behaviour", "told"),
    [
        (golden(prediction=3, label="Dress"), "takes a picture of '.*' for 'Dress'"),
        (golden(confidence=0.4), "its confidence is off by 0.6"),
        (golden(confidence=SURE - 0.02), "its confidence is off by 0.02"),
        (golden(model=SHOES), "answers with the model 'shoes'.*set GARMENTS_MODEL"),
        (golden(model=NEWER, prediction=3, label="Dress"), "takes a picture of '.*' for 'Dress'"),
        (fake.status(422, "no picture"), "answers with 'no picture'"),
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


def test_another_server_that_answers_everything_ends_the_night_at_once(place: Place) -> None:
    place.add("a.png")

    def welcome(handler: fake.Handler, _: list[bytes]) -> None:
        fake.send(handler, 200, b"<h1>Welcome!</h1>")

    told = pytest.raises(
        batch.ServiceError, match=r"127.0.0.1:\d+ is no Garments service: see --url"
    )
    with fake_service(golden=welcome) as service, told:
        place.night(service)


def test_one_that_comes_in_its_place_later_has_time_to_go_again(place: Place) -> None:
    place.add("a.png")
    with fake_service(otherwise=fake.odd({"label": "x"})) as service:
        told = "gave no usable answer within 0.5 s: the answer is not of this service; what it had"
        with pytest.raises(batch.ServiceError, match=told):
            place.night(service, retry_seconds=0.5)


def test_another_version_may_be_less_sure_of_the_picture_that_tests_it(place: Place) -> None:
    place.add("a.png")
    with fake_service(golden=golden(model=NEWER, confidence=0.4)) as service:
        assert place.night(service).accept == 1


def test_the_same_version_may_differ_in_the_last_digits(place: Place) -> None:
    place.add("a.png")
    with fake_service(golden=golden(confidence=SURE - 0.005)) as service:
        assert place.night(service).accept == 1


def test_a_night_without_the_model_s_card_is_refused(place: Place) -> None:
    with fake_service() as service, pytest.raises(batch.UsageError, match="its model's card"):
        place.night(service, model="none")


def peak_of_a_night(place: Place, service: fake.FakeService) -> float:
    """The most memory that a night takes in a process of its own, in MiB."""
    program = (
        "import re, sys; import batch_request; from pathlib import Path\n"
        "assert batch_request.main() == 0\n"
        "peak = re.search(r'VmHWM:\\s+(\\d+) kB', Path('/proc/self/status').read_text())\n"
        "print(int(peak[1]) / 1024)\n"
    )
    settings = {"GARMENTS_DATABASE_URL": place.settings.database_url, "PYTHONPATH": str(PROJECT)}
    given = [str(place.photos), "--output", str(place.output), "--url", service.url]
    done = subprocess.run(
        [sys.executable, "-c", program, *given],
        env={**os.environ, **settings, "GARMENTS_SETTLE_SECONDS": "0"},
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_a_night_of_many_photos_takes_no_more_memory_than_one_of_few(tmp_path: Path) -> None:
    peaks = {}
    with fake_service() as service:
        for photos in (10_000, 50_000):
            (tmp_path / str(photos)).mkdir()
            place = Place(tmp_path / str(photos))
            place.add(*(f"{number}.png" for number in range(photos)))
            peaks[photos] = [peak_of_a_night(place, service) for _ in ("first", "nothing new")]
            shutil.rmtree(tmp_path / str(photos))
    print(f"\npeaks of memory in MiB, by photos: {peaks}")
    # Caches fill up, some 7 MiB in a first night; to hold all that is found takes some 15.
    more = [many - few for few, many in zip(*peaks.values(), strict=True)]
    assert max(more) < 11


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
