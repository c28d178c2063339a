"""Photos are moved away once their table is safe, and none is lost."""

import errno
import hashlib
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from garments import batch
from garments.batch import archive as archives
from garments.batch import photo
from garments.batch.replaced import midnight_before
from garments.store import Database, Stamp, Store
from garments.store.runs import Runs
from garments.store.tables import runs
from tests import fake_service as fake
from tests.fake_service import fake_service
from tests.places import (
    DENIED,
    Place,
    expected,
    failing_at,
    files,
    growing,
    no_lock,
    report,
    review,
    slips,
    waiting,
)


def alike(one: Path, other: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the one say of itself that it is the other, as a bind mount does."""
    stat = os.stat
    monkeypatch.setattr(
        os,
        "stat",
        lambda path, **how: stat(other if path in (one, str(one)) else path, **how),
    )


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What somebody should see to."""
    return [record.message for record in caplog.records if record.levelname == "WARNING"]


def killed_as_it_ends(place: Place, service: fake.FakeService, **options: object) -> None:
    """A night that is interrupted at the moment that it has ended."""
    finish = Runs.finish

    def finished(*given: Any) -> None:
        finish(*given)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Runs, "finish", finished)
        with pytest.raises(KeyboardInterrupt):
            place.night(service, **options)


def test_classified_photos_are_moved_once_the_table_is_written(place: Place, archive: Path) -> None:
    place.add("a.png", "b/c.png", "notes.txt")
    before = files(place.photos)
    with fake_service() as service:
        counts = place.night(service, archive=archive)
    assert (counts.archived, counts.stuck) == (2, 0)
    assert place.rows().keys() == {"a.png", "b/c.png"}
    assert files(place.photos).keys() == {"notes.txt"}
    assert files(archive) | files(place.photos) == before


def test_so_is_one_from_beyond_the_time_that_databases_know(place: Place, archive: Path) -> None:
    place.add("a.png")
    year_2300 = 330 * 31_556_952
    os.utime(place.photos / "a.png", (year_2300, year_2300))
    with fake_service() as service:
        assert place.night(service, archive=archive).archived == 1


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


def test_a_known_photo_that_is_still_being_written_stays(
    place: Place, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def written(path: bytes, stamp: Stamp, settle_seconds: float) -> bytes:
        raise photo.StillWritten(stamp)

    place.add("a.png")
    with fake_service() as service:
        place.night(service)
        (place.photos / "a.png").chmod(0o640)  # its content is the one that is known
        monkeypatch.setattr(photo, "read", written)
        counts = place.night(service, archive=archive)
    assert (counts.left, counts.archived) == (1, 0)
    assert files(place.photos).keys() == {"a.png"}


def test_a_known_photo_that_comes_back_once_the_table_is_written_stays(
    place: Place, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def come_back(*_: object) -> None:
        away.rename(place.photos / "a.png")

    place.add("a.png")
    away = place.photos.with_name("away.png")
    with fake_service() as service:
        place.night(service)
        (place.photos / "a.png").rename(away)
        monkeypatch.setattr("garments.batch.night.write_report", come_back)
        assert place.night(service, archive=archive).archived == 0
    assert files(place.photos).keys() == {"a.png"}


def test_links_to_one_file_are_moved_in_one_night(place: Place, tmp_path: Path) -> None:
    place.add("a.png")
    for name in ("b.png", "c.png"):
        os.link(place.photos / "a.png", place.photos / name)
    before, archive = files(place.photos), tmp_path / "archive"
    with fake_service() as service:
        assert place.night(service, archive=archive).archived == 3
    assert (files(archive), files(place.photos)) == (before, {})


def test_nothing_in_the_archive_is_overwritten(place: Place, archive: Path) -> None:
    place.add("a.png")
    (archive / "b").mkdir(parents=True)
    (archive / "a.png").write_text("another")
    content = (place.photos / "a.png").read_bytes()
    with fake_service() as service:
        assert place.night(service, archive=archive).archived == 1
    marked = f"a-{hashlib.sha256(content).hexdigest()[:12]}.png"
    assert files(archive) == {"a.png": b"another", marked: content}


def test_a_photo_whose_name_is_all_extension_stays_one_by_its_name(
    place: Place, archive: Path
) -> None:
    place.add("a/.jpg")
    (archive / "a").mkdir(parents=True)
    (archive / "a" / ".jpg").write_text("another")
    content = (place.photos / "a" / ".jpg").read_bytes()
    with fake_service() as service:
        assert place.night(service, archive=archive).archived == 1
    marked = f"a/-{hashlib.sha256(content).hexdigest()[:12]}.jpg"
    assert files(archive) == {"a/.jpg": b"another", marked: content}


def test_a_move_that_was_cut_short_is_finished(place: Place, archive: Path) -> None:
    place.add("a.png", "b.png")
    before = files(place.photos)
    archive.mkdir()
    (archive / "a.png").write_bytes(before["a.png"])
    with fake_service() as service:
        assert place.night(service, archive=archive).archived == 2
    assert (files(archive), files(place.photos)) == (before, {})


def test_what_a_night_archived_before_it_was_cut_short_is_in_the_next_table(
    place: Place, archive: Path
) -> None:
    place.add("a.png", "b.png", "c.png")
    with fake_service() as service:
        place.killed_at("b.png", service, archive)
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
    place: Place, archive: Path
) -> None:
    boot, odd = "🥾.png", os.fsdecode(b"\xff.png")  # as text the second would come first
    place.add(boot, odd)
    with fake_service() as service:
        place.killed_at(odd, service, archive)
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


def test_what_a_night_archived_that_ended_is_in_no_other_table(place: Place, archive: Path) -> None:
    place.add("a.png", "b.png")
    with fake_service() as service:
        with place.failing_to_remove("a.png", DENIED):
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
        killed_as_it_ends(place, service, archive=archive)
        assert not files(place.photos)
        place.output = place.output.with_name("second.csv")
        caplog.clear()
        assert place.night(service, archive=archive).carried == 0
        assert not warned(caplog)
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
    monkeypatch.setattr("garments.store.forgetting._AT_ONCE", 1)
    with fake_service() as service:
        told = slips(place, "a.png,Coat", "b.png,Coat", "c.png,Coat")
        with place.failing_to_remove("c.png", DENIED):
            assert place.night(service, archive=archive, expected=told).stuck == 1
        place.add("a.png", "b.png", length=31)
        place.night(service, archive=archive)
    assert expected(place) == {"a.png": "", "b.png": "", "c.png": "Coat"}  # which had stayed


@pytest.mark.parametrize("cut_short", [killed_as_it_ends, Place.cut_short])  # after, and before
def test_nor_is_it_where_the_night_was_killed(
    cut_short: Callable[..., None], place: Place, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.add("a.png", "b.png")
    with fake_service() as service:
        told = slips(place, "a.png,Coat", "b.png,Coat")
        cut_short(place, service, archive=archive, expected=told)
        assert not files(place.photos)
        place.add("a.png", length=31)
        monkeypatch.setitem(fake.MODEL, "version", "of the next day")
        place.night(service, archive=archive)
    assert expected(place)["a.png"] == ""


@pytest.mark.parametrize("empty", [False, True])  # whether a night finds nothing between
@pytest.mark.parametrize("later", ["archive", "of the next day", None])
def test_nor_is_it_wherever_the_nights_after_that_archive(
    later: str | None,
    empty: bool,
    place: Place,
    archive: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place.add("a.png", "b.png")
    chosen = {"archive": archive.with_name(later)} if later else {}
    with fake_service() as service:
        told = slips(place, "a.png,Coat", "b.png,Coat")
        place.cut_short(service, archive=archive, expected=told)
        monkeypatch.setitem(fake.MODEL, "version", "ba9876543210")
        if empty:
            place.night(service, **chosen)
        place.add("a.png", length=31)
        place.night(service, **chosen)
    assert expected(place)["a.png"] == ""


def test_a_night_that_finds_nothing_to_archive_costs_no_photo_its_slip(
    place: Place, archive: Path
) -> None:
    place.add("a.png")
    with fake_service() as service:
        place.night(service, expected=slips(place, "a.png,Coat"))
        (place.photos / "a.png").unlink()  # as where its disk is away
        place.night(service, archive=archive)
        place.add("a.png", length=31)
        place.night(service, archive=archive)
    assert expected(place) == {"a.png": "Coat"}


@pytest.mark.parametrize(("length", "slip"), [(21, "Coat"), (31, "")])
def test_after_a_night_cut_short_a_photo_keeps_its_slip_with_its_content(
    length: int, slip: str, place: Place, archive: Path
) -> None:
    place.add("a.png", "b.png")
    with fake_service() as service:
        with place.failing_to_remove("a.png", DENIED):
            place.cut_short(service, archive=archive, expected=slips(place, "a.png,Coat"))
        place.add("a.png", length=length)
        place.night(service)
        assert expected(place)["a.png"] == slip
        place.night(service, expected=slips(place, "a.png,Dress"))
        place.add("a.png", length=33)
        place.night(service)
    assert expected(place) == {"a.png": "Dress"}


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


def test_a_photo_that_changed_keeps_its_slip_though_the_archive_has_an_older_one(
    place: Place, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.add("a.png")
    archive_of = archives.archive

    def changed(*given: Any) -> tuple[int, int]:
        place.add("a.png", length=33)
        return archive_of(*given)

    with fake_service() as service:
        place.night(service, archive=archive)
        place.add("a.png", length=31)
        with monkeypatch.context() as patch:
            patch.setattr(archives, "archive", changed)
            place.night(service, archive=archive, expected=slips(place, "a.png,Coat"))
        place.night(service)
    assert expected(place) == {"a.png": "Coat"}


@pytest.mark.parametrize("archives_on", [True, False])
def test_nor_is_it_after_a_night_cut_short_and_another_that_ended(
    archives_on: bool, place: Place, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.add("a.png", "b.png", length=21)
    place.add("doubtful.png", length=22)
    with fake_service() as service:
        told = slips(place, "a.png,Coat", "b.png,Coat", "doubtful.png,Coat")
        place.cut_short(service, archive=archive, expected=told)
        monkeypatch.setitem(fake.MODEL, "version", "ba9876543210")
        place.add("c.png")
        counts = place.night(service, **({"archive": archive} if archives_on else {}))
        assert counts.carried == 3
        place.add("a.png", length=31)
        place.night(service)
    assert expected(place)["a.png"] == ""
    assert [name for name, _ in waiting(place)] == ["doubtful.png"]


def test_where_all_photos_are_gone_only_what_the_archive_really_has_is_forgotten(
    place: Place, archive: Path
) -> None:
    place.add("a.png", "b.png")
    archive.mkdir()
    (archive / "b.png").write_text("another")
    with fake_service() as service:
        place.night(service, expected=slips(place, "a.png,Coat", "b.png,Coat"))
        (place.photos / "a.png").rename(archive / "a.png")
        mounted = place.photos.rename(place.photos.with_name("mounted"))
        place.photos.mkdir()
        assert place.night(service, archive=archive).found == 0
        (mounted / "b.png").rename(place.photos / "b.png")
        place.add("a.png", length=31)
        place.night(service)
    assert expected(place) == {"a.png": "", "b.png": "Coat"}


def test_a_second_run_of_a_day_tells_that_the_table_of_archived_photos_is_gone(
    place: Place, archive: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place.add("a.png", "b.png", "c.png", "d.png")
    with fake_service([fake.status(422, "damaged")]) as service:
        with place.failing_to_remove("c.png", DENIED):
            place.night(service, archive=archive, batch_size=1, connections=1)
        assert len(files(place.photos)) == 2  # one that is damaged, and one that is stuck
        place.add("d.png", length=31)  # another of that name
        caplog.clear()
        place.night(service, archive=archive)
    (told,) = warned(caplog)
    assert "predictions.csv named 2 photos that an earlier run of today archived" in told


@pytest.mark.parametrize("between", [True, False])  # a run that does not archive
def test_so_does_one_of_another_folder_or_after_one_into_another_table(
    between: bool, place: Place, archive: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place.add("a.png")
    with fake_service() as service:
        place.night(service, archive=archive)
        first, place.output = place.output, place.output.with_name("second.csv")
        if between:
            place.add("b.png")
            place.night(service)
        else:
            place.photos = folder(place, "more", "c.png")
        place.output = first
        place.night(service)
    (told,) = warned(caplog)
    assert "predictions.csv named 1 photo that an earlier run of today archived" in told


def test_where_somebody_may_have_taken_a_photo_away_it_says_so(
    place: Place, archive: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place.add("a.png", "b.png")
    first, own = place.output, place.photos
    with fake_service() as service:
        place.output, place.photos = first.with_name("more.csv"), folder(place, "more", "c.png")
        place.night(service, archive=archive)
        place.output, place.photos = first, own
        place.night(service)
        (own / "b.png").unlink()
        place.night(service)
    (told,) = warned(caplog)
    assert "1 photo that an earlier run of today archived, or somebody took away" in told


@pytest.mark.parametrize("day", ["2026-03-29", "2026-10-25"])
def test_a_day_begins_at_midnight_also_when_clocks_change_later(
    day: str, time_zone: Callable[[str], None]
) -> None:
    time_zone("CET-1CEST,M3.5.0,M10.5.0/3")
    night = datetime.fromisoformat(f"{day} 23:00").astimezone()
    begun = midnight_before(night)
    assert begun == datetime.fromisoformat(f"{day} 00:00").astimezone()
    assert begun.utcoffset() != night.utcoffset()


def folder(place: Place, name: str, photo: str) -> Path:
    """Another folder than that of the place, with one photo."""
    made = place.photos.with_name(name)
    made.mkdir()
    (made / photo).write_bytes(b"a photo of another folder")
    return made


def test_but_not_where_its_photos_are_in_another_folder_or_it_is_of_the_day_before(
    place: Place, archive: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place.add("a.png")
    with fake_service() as service:
        place.night(service, archive=archive)
        first, place.photos = place.photos, folder(place, "more", "c.png")
        place.output = place.output.with_name("more.csv")
        place.night(service)
        place.photos = first
        place.night(service, archive=archive)
        place.output = place.output.with_name("predictions.csv")
        os.utime(place.output, (0, 0))
        place.night(service, archive=archive)
    assert not warned(caplog)


def test_but_not_where_it_is_that_of_the_day_before_or_stays(
    place: Place, archive: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place.add("a.png")
    with fake_service() as service:
        place.night(service, archive=archive)
        before, place.output = place.output, place.output.with_name("second.csv")
        place.night(service, archive=archive)
        place.output = before
        with closing(Database(place.settings.database_url)) as base, base.writing() as connection:
            yesterday = datetime.now(timezone.utc) - timedelta(days=1)
            connection.execute(runs.update().values(started=yesterday))
        place.night(service, archive=archive)
    assert "a.png" not in place.output.read_text(encoding="utf-8")
    assert not warned(caplog)


def test_a_folder_that_a_night_cut_short_has_emptied_is_in_order_every_night(
    place: Place, archive: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place.add("a.png", "b.png")
    with fake_service() as service:
        place.cut_short(service, archive=archive)
        for _ in range(3):
            place.night(service)
    assert not warned(caplog)


def test_a_night_with_nothing_new_since_all_was_archived_is_in_order(
    place: Place, archive: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place.add("a.png", "b.png")
    with fake_service() as service:
        place.night(service, archive=archive)
        place.output = place.output.with_name("second.csv")
        caplog.clear()
        place.night(service, archive=archive)
        counts = place.night(service, archive=archive)
    assert (counts.found, counts.archived, counts.stuck, counts.carried) == (0, 0, 0, 0)
    assert not warned(caplog)


def test_so_is_one_after_what_could_not_be_read_was_taken_away(
    place: Place, archive: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place.add("a.png", "b.png")
    with fake_service([fake.status(422, "damaged")]) as service:
        place.night(service, archive=archive, batch_size=1, connections=1)
        (place.photos / "a.png").unlink()
        place.output = place.output.with_name("second.csv")
        caplog.clear()
        assert place.night(service).found == 0
    assert not warned(caplog)


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
    place: Place, archive: Path
) -> None:
    place.add("a.png", "b.png")
    with fake_service() as service, place.failing_to_remove("a.png", DENIED):
        counts = place.night(service, archive=archive)
    assert (counts.archived, counts.stuck) == (1, 1)
    assert files(place.photos).keys() == {"a.png"}
    assert files(archive).keys() == {"a.png", "b.png"}


def test_a_full_temporary_folder_is_told(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr("garments.batch.findings.Findings.add", full)
    with fake_service() as service, pytest.raises(batch.UsageError, match="is full.*TMPDIR"):
        place.night(service)


@pytest.mark.parametrize("folder", ["photos", "photos/old", "."])
def test_an_archive_that_overlaps_is_refused(folder: str, place: Place) -> None:
    place.add("a.png")
    with fake_service() as service, pytest.raises(batch.UsageError, match="overlap"):
        place.night(service, archive=place.output.parent / folder)


def test_so_is_one_that_overlaps_by_another_path(
    place: Place, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.add("a.png")
    archive.mkdir(exist_ok=True)
    alike(archive, place.photos, monkeypatch)
    with fake_service() as service:
        for folder in (archive, archive / "2026"):
            with pytest.raises(batch.UsageError, match="overlap"):
                place.night(service, archive=folder)


def test_a_photo_whose_folder_is_in_the_archive_by_another_path_stays(
    place: Place, archive: Path
) -> None:
    place.add("a.png", "sub/b.png")
    archive.mkdir(exist_ok=True)
    (archive / "sub").symlink_to(place.photos / "sub")
    with fake_service() as service:
        counts = place.night(service, archive=archive)
    assert (counts.archived, counts.stuck) == (1, 1)
    assert files(place.photos).keys() == {"sub/b.png"}


def test_of_two_photos_that_are_each_others_copies_one_stays(place: Place, archive: Path) -> None:
    place.add("one/a.png", "two/a.png", length=40)
    (place.photos / "two" / "a.png").write_bytes((place.photos / "one" / "a.png").read_bytes())
    archive.mkdir(exist_ok=True)
    (archive / "one").symlink_to(place.photos / "two")
    (archive / "two").symlink_to(place.photos / "one")
    with fake_service() as service:
        counts = place.night(service, archive=archive)
    assert (counts.archived, counts.stuck) == (1, 1)
    assert len(files(place.photos)) == 1


def test_a_folder_of_the_archive_that_may_not_be_listed_keeps_no_other_photo_here(
    place: Place, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.add("a.png", "sub/b.png")
    denied, allowed = os.fsencode(archive / "sub"), os.access
    monkeypatch.setattr(
        "garments.batch.archive.os.access",
        lambda path, mode: path != denied and allowed(path, mode),
    )
    with fake_service() as service:
        counts = place.night(service, archive=archive)
    assert (counts.archived, counts.stuck) == (1, 1)
    assert files(place.photos).keys() == {"sub/b.png"}


def test_an_archive_that_is_a_folder_of_the_photos_by_another_path_is_refused(
    place: Place, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.add("a.png", "old/b.png")
    archive.mkdir(exist_ok=True)
    alike(archive, place.photos / "old", monkeypatch)
    with fake_service() as service:
        told = "is 'old' of the directory by another path: choose an --archive outside"
        for folder in (archive, archive / "2026"):
            with pytest.raises(batch.UsageError, match=told):
                place.night(service, archive=folder)
        assert service.requests == []


def test_an_archive_of_too_long_a_name_is_refused(place: Place) -> None:
    place.add("a.png")
    told = "has too long a name: choose another --archive"
    with fake_service() as service, pytest.raises(batch.UsageError, match=told):
        place.night(service, archive=place.output.with_name("a" * 300))


def test_an_archive_that_cannot_be_looked_at_is_refused(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.add("a.png")
    closed, stat, access = place.output.with_name("closed"), os.stat, os.access
    closed.mkdir()

    def denied(path: Any, **how: Any) -> os.stat_result:
        if closed in Path(os.fsdecode(path)).parents:
            raise PermissionError(errno.EACCES, "Permission denied")
        return stat(path, **how)

    monkeypatch.setattr(os, "stat", denied)
    monkeypatch.setattr(os, "access", lambda path, mode: path != closed and access(path, mode))
    told = f"{closed}/archive can take no photos: {closed} is no folder, or this user may not"
    with fake_service() as service, pytest.raises(batch.UsageError, match=told):
        place.night(service, archive=closed / "archive")


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


def test_an_archive_or_a_directory_that_leads_in_a_circle_is_refused(place: Place) -> None:
    place.add("a.png")
    circle, archive = place.output.with_name("circle"), place.output.with_name("archive")
    circle.symlink_to(circle.name)
    with fake_service() as service:
        with pytest.raises(batch.UsageError, match="circle is no folder, .*choose another --arch"):
            place.night(service, archive=circle)
        place.photos = circle
        with pytest.raises(batch.UsageError, match="circle' cannot be listed: Too many levels of"):
            place.night(service, archive=archive)


@pytest.mark.parametrize("denied", [os.W_OK, os.R_OK])
def test_an_archive_that_may_not_be_written_or_listed_is_refused_before_the_night(
    denied: int, place: Place, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.add("a.png")
    archive.mkdir(exist_ok=True)
    allowed = os.access
    monkeypatch.setattr(
        "garments.batch.night.os.access",
        lambda path, mode: allowed(path, mode) and not (path == archive and mode & denied),
    )
    told = f"{archive} can take no photos: .* this user may not list it and write there"
    with fake_service() as service, pytest.raises(batch.UsageError, match=told):
        place.night(service, archive=archive)
    assert files(place.photos).keys() == {"a.png"}
