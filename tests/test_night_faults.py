"""A night where a file, a folder or an answer is not as it should be, and what it tells."""

import errno
import hashlib
import itertools
import os
import shutil
import sqlite3
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from garments import batch
from garments.batch import archive as archives
from garments.batch import photo
from garments.batch.walk import stamp_of, walk
from garments.morning import page
from garments.predictions import read_predictions
from garments.store import Busy, Database, Outcome, Photo, Stamp, Store, StoreError
from garments.store.archived import Archived
from garments.store.lock import locked
from tests import fake_service as fake
from tests.fake_service import fake_service
from tests.places import (
    DENIED,
    Place,
    altered_in_secret,
    changing_to,
    failing_at,
    files,
    review,
    stay_apart,
    waiting,
)

# The table


Spoilt = Callable[[Outcome], Outcome | None]


def spoil(monkeypatch: pytest.MonkeyPatch, name: bytes, spoilt: Spoilt) -> None:
    """Have the store tell `spoilt` of the outcome of one photo; None leaves it out."""
    outcomes = Store.outcomes

    def told(*asked: object) -> Iterator[Outcome]:
        for outcome in outcomes(*asked):
            changed = spoilt(outcome) if outcome.name == name else outcome
            if changed is not None:
                yield changed

    monkeypatch.setattr(Store, "outcomes", told)


@pytest.mark.parametrize("name", ["a.png", "b.png"])  # before another one, and the last
@pytest.mark.parametrize(
    "spoilt",
    [
        lambda _: None,
        lambda outcome: outcome._replace(decision=None),
        lambda outcome: outcome._replace(decision="unreadable"),
        lambda outcome: outcome._replace(prediction=None),
        lambda outcome: outcome._replace(confidence=None),
        lambda outcome: outcome._replace(prediction=-1),
        lambda outcome: outcome._replace(prediction=10),
    ],
    ids=["missing", "undecided", "no reason", "no class", "no confidence", "below", "above"],
)
def test_a_photo_without_an_answer_ends_the_night_and_the_old_table_stays(
    name: str, spoilt: Spoilt, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.add("a.png")
    with fake_service() as service:
        place.night(service)
        before = place.output.read_bytes()
        place.add("b.png")
        spoil(monkeypatch, name.encode(), spoilt)
        with pytest.raises(batch.ReconcileError, match=f"'{name}' was found, but has no answer"):
            place.night(service)
    assert place.output.read_bytes() == before


# The walk


class Entry:
    """An entry of a folder, and what asking for anything but its name raises, if anything."""

    def __init__(self, entry: os.DirEntry[bytes], error: OSError | None) -> None:
        self._entry, self._error, self.name = entry, error, entry.name

    def __getattr__(self, name: str) -> object:
        if self._error:
            raise self._error
        return getattr(self._entry, name)


def test_a_folder_that_cannot_be_listed_ends_the_night(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.add("a.png", "b/c.png")
    denied = failing_at(place.photos / "b", DENIED, os.scandir)
    monkeypatch.setattr("garments.batch.walk.os.scandir", denied)
    told = pytest.raises(batch.UsageError, match="photos/b' cannot be listed: Permission denied")
    with fake_service() as service, told:
        place.night(service)
    assert not place.output.exists()


@pytest.mark.parametrize("name", ["lost+found", ".Trash-1000"])
def test_what_a_disk_keeps_at_its_root_for_others_is_left_out_and_told(
    name: str, place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    place.add("a.png", f"{name}/b.png", f"deep/{name}/c.png")
    denied = failing_at(place.photos / name, DENIED, os.scandir)
    monkeypatch.setattr("garments.batch.walk.os.scandir", denied)
    with fake_service() as service:
        place.night(service)
        assert {*place.rows()} == {"a.png", f"deep/{name}/c.png"}
        assert f"other files there, which are left out: 1 {name}" in caplog.messages
        deep = failing_at(place.photos / "deep" / name, DENIED, os.scandir)
        monkeypatch.setattr("garments.batch.walk.os.scandir", deep)
        with pytest.raises(batch.UsageError, match="cannot be listed"):
            place.night(service)


def test_a_file_that_vanishes_while_its_folder_is_listed_hides_no_other(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.add("a.png", "b/1.png", "b/2.png")
    scandir = os.scandir

    @contextmanager
    def late(folder: bytes) -> Iterator[list[os.DirEntry[bytes]]]:
        with scandir(folder) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
        if folder.endswith(b"/b"):
            (place.photos / "b" / "1.png").unlink()
        yield listed

    monkeypatch.setattr("garments.batch.walk.os.scandir", late)
    found = {each.name for each in walk(os.fsencode(place.photos))}
    assert found == {b"a.png", b"b/2.png"}


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.EUCLEAN])
def test_a_photo_whose_entry_is_damaged_is_unreadable_and_costs_no_other_its_row(
    code: int, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.add("a.png", "b.png")
    damage = OSError(code, os.strerror(code))

    scandir = os.scandir

    def listed(folder: Any) -> Any:
        entries = scandir(folder)
        if folder != os.fsencode(place.photos):
            return entries
        with entries:
            damaged = {b"b.png": damage}
            return nullcontext([Entry(entry, damaged.get(entry.name)) for entry in entries])

    monkeypatch.setattr("garments.batch.walk.os.scandir", listed)
    opening = failing_at(place.photos / "b.png", damage, os.open)
    monkeypatch.setattr("garments.batch.photo.os.open", opening)
    with fake_service() as service:
        assert place.night(service).unreadable == 1
    rows = {row.filename: row.error for row in read_predictions(place.output, 10)}
    assert rows == {"a.png": "", "b.png": f"the file cannot be read: {os.strerror(code)}"}


def test_a_folder_that_vanishes_before_it_is_listed_hides_no_other(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.add("a.png", "b/1.png", "c/2.png")
    gone = failing_at(place.photos / "b", FileNotFoundError(errno.ENOENT, "gone"), os.scandir)
    monkeypatch.setattr("garments.batch.walk.os.scandir", gone)
    found = {each.name for each in walk(os.fsencode(place.photos))}
    assert found == {b"a.png", b"c/2.png"}


# The archive


def classified(place: Place, name: str) -> Photo:
    """What a night would know of a photo by now."""
    path = place.photos / name
    digest = hashlib.sha256(path.read_bytes()).digest()
    return Photo(os.fsencode(name), stamp_of(path.lstat()), digest)


def move(
    place: Place, archive: Path, known: Photo, moving: archives.Moving = lambda _: None
) -> tuple[int, int]:
    """Archive one photo; how many went, how many did not."""
    return archives.archive(os.fsencode(place.photos), os.fsencode(archive), [known], moving)


NEW = b"new.png".ljust(30, b".")


def replace_by_new(place: Place, name: str, length: int = len(NEW)) -> None:
    """Put another file in the place of a photo at once, as whoever copies with care does.

    It has the time of the old one.
    """
    new, time = place.photos / "new.png", (place.photos / name).stat().st_mtime_ns
    place.add(new.name, length=length)
    os.utime(new, ns=(time, time))
    new.replace(place.photos / name)


@pytest.mark.parametrize("length", [len(NEW), 21])  # or as the one before
@pytest.mark.parametrize("when", ["once it is kept", "once the queue knows"])
def test_a_new_photo_that_comes_while_the_old_one_is_archived_stays(
    when: str, length: int, place: Place, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.add("a.png")
    old, keep = files(place.photos), archives._keep

    def kept(*given: Any) -> bytes:
        target = keep(*given)
        if when == "once it is kept":
            replace_by_new(place, "a.png", length)
        return target

    def told(_: Mapping[bytes, bytes]) -> None:
        if when == "once the queue knows":
            replace_by_new(place, "a.png", length)

    monkeypatch.setattr(archives, "_keep", kept)
    assert move(place, archive, classified(place, "a.png"), told) == (0, 0)
    assert files(archive) == old
    assert files(place.photos) == {"a.png": b"new.png".ljust(length, b".")}


@pytest.mark.parametrize("before", [{}, {"a.png": b"a.png".ljust(21, b".")}])
def test_a_new_photo_that_comes_in_the_instant_of_the_link_is_not_taken_for_the_old_one(
    before: dict[str, bytes], place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.add("a.png")
    archive, link = tmp_path / "archive", os.link
    archive.mkdir()
    for name, content in before.items():  # of a night that was cut short
        (archive / name).write_bytes(content)

    def late(source: bytes, target: bytes, **how: Any) -> None:
        replace_by_new(place, "a.png")
        link(source, target, **how)

    monkeypatch.setattr("garments.batch.archive.os.link", late)
    told: list[Mapping[bytes, bytes]] = []
    assert move(place, archive, classified(place, "a.png"), told.append) == (0, 0)
    assert told == [{}]
    assert files(archive) == before
    assert files(place.photos) == {"a.png": NEW}


def test_a_photo_that_changed_but_for_its_size_and_time_stays(place: Place, archive: Path) -> None:
    place.add("a.png")
    known = classified(place, "a.png")
    altered_in_secret(place.photos / "a.png")
    assert move(place, archive, known) == (0, 0)
    assert files(archive) == {}
    assert files(place.photos).keys() == {"a.png"}


@pytest.mark.parametrize(
    "refusal",
    [errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS],
    ids=errno.errorcode.get,
)
def test_where_there_are_no_links_a_photo_is_copied(
    refusal: int, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(refusal, os.strerror(refusal))

    place.add("a.png")
    before = files(place.photos)
    monkeypatch.setattr("garments.batch.archive.os.link", refuse)
    assert move(place, tmp_path / "archive", classified(place, "a.png")) == (1, 0)
    assert (files(tmp_path / "archive"), files(place.photos)) == (before, {})


@pytest.fixture
def elsewhere(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An archive on another file system than the photos, one that has links of its own."""
    link = os.link

    def within_one(source: bytes, target: bytes, **how: Any) -> None:
        if os.path.lexists(target):  # which is asked first
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        if source.startswith(os.fsencode(place.photos)):
            stay_apart(source, target)
        link(source, target, **how)

    monkeypatch.setattr("garments.batch.archive.os.link", within_one)
    return tmp_path / "elsewhere"


@pytest.mark.parametrize("links", [True, False])
def test_what_comes_into_the_archive_while_a_photo_is_copied_is_not_overwritten(
    links: bool, place: Place, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.add("a.png")
    known, [copy] = classified(place, "a.png"), files(place.photos).values()
    copied = shutil.copyfileobj

    def meanwhile(old: BinaryIO, new: BinaryIO) -> None:
        (elsewhere / "a.png").write_bytes(b"another")
        copied(old, new)

    monkeypatch.setattr("garments.batch.archive.shutil.copyfileobj", meanwhile)
    if not links:
        monkeypatch.setattr("garments.batch.archive.os.link", stay_apart)
    assert move(place, elsewhere, known) == (1, 0)
    mark = hashlib.sha256(copy).hexdigest()[:12]
    assert files(elsewhere) == {"a.png": b"another", f"a-{mark}.png": copy}


def killed_once_a_copy_has_its_name(place: Place, archive: Path, known: Photo) -> None:
    """Archive a photo up to where its copy has the name of what is not whole, and its own."""
    assert known.digest is not None
    partial = archive / f".{known.digest.hex()}.part"
    with pytest.MonkeyPatch.context() as patch:
        killed = failing_at(partial, KeyboardInterrupt(), os.unlink)
        patch.setattr("garments.batch.archive.os.unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            move(place, archive, known)
    assert partial.samefile(archive / os.fsdecode(known.name))


@pytest.mark.parametrize("taken", [True, False])
def test_a_copy_that_was_cut_short_when_it_had_its_name_is_finished(
    taken: bool, place: Place, elsewhere: Path
) -> None:
    place.add("a.png")
    before, known = files(place.photos), classified(place, "a.png")
    killed_once_a_copy_has_its_name(place, elsewhere, known)
    if not taken:  # somebody has moved it on
        (elsewhere / "a.png").unlink()
    assert move(place, elsewhere, known) == (1, 0)
    assert (files(elsewhere), files(place.photos)) == (before, {})


def test_a_copy_that_was_cut_short_then_is_not_written_over_by_that_of_its_twin(
    place: Place, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.add("a.png")
    before = files(place.photos)
    killed_once_a_copy_has_its_name(place, elsewhere, classified(place, "a.png"))
    twin = (place.photos / "a.png").rename(place.photos / "twin.png")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("garments.batch.archive.shutil.copyfileobj", interrupted)
    with pytest.raises(KeyboardInterrupt):
        move(place, elsewhere, classified(place, twin.name))
    assert files(elsewhere) == before


def test_a_photo_keeps_its_time_in_the_archive(place: Place, archive: Path) -> None:
    place.add("a.png")
    os.utime(place.photos / "a.png", (1e9, 1e9))
    move(place, archive, classified(place, "a.png"))
    assert (archive / "a.png").stat().st_mtime == 1e9


def test_a_photo_whose_attributes_have_no_room_in_the_archive_is_copied_without_them(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    place.add("a.png")
    (place.photos / "a.png").chmod(0o640)
    os.utime(place.photos / "a.png", (1e9, 1e9))
    monkeypatch.setattr("garments.batch.archive.os.link", stay_apart)
    monkeypatch.setattr("garments.batch.archive.os.listxattr", full, raising=False)
    assert move(place, tmp_path / "archive", classified(place, "a.png")) == (1, 0)
    kept = (tmp_path / "archive" / "a.png").stat()
    assert (kept.st_mtime, stat.S_IMODE(kept.st_mode)) == (1e9, 0o640)


def test_a_copy_is_on_the_disk_before_it_has_its_name(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[object] = []
    rename = os.rename

    def renamed(partial: bytes, target: bytes) -> None:
        steps.append("renamed")
        rename(partial, target)

    place.add("a.png")
    monkeypatch.setattr("garments.batch.archive.os.link", stay_apart)
    monkeypatch.setattr("garments.batch.archive.os.rename", renamed)
    monkeypatch.setattr(
        "garments.batch.archive.os.fsync", lambda file: steps.append(os.fstat(file))
    )
    move(place, tmp_path / "archive", classified(place, "a.png"))
    synced, then, *_ = steps
    copy = (tmp_path / "archive" / "a.png").stat()
    assert isinstance(synced, os.stat_result)
    assert (synced.st_ino, synced.st_size) == (copy.st_ino, copy.st_size)  # all of it
    assert then == "renamed"


def test_a_photo_is_found_in_the_archive_under_its_other_name_too(
    place: Place, tmp_path: Path
) -> None:
    place.add("a.png")
    archive, known = tmp_path / "archive", classified(place, "a.png")
    archive.mkdir()
    (archive / "a.png").write_text("another")
    move(place, archive, known)
    (archive / "a.png").unlink()
    assert archives.is_moved(os.fsencode(place.photos), os.fsencode(archive), known)


def test_photos_are_moved_however_many_they_are(
    place: Place, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "_AT_ONCE", 2)
    names = [f"{number}.png" for number in range(5)]
    place.add(*names)
    known = [classified(place, name) for name in names]
    here, there = os.fsencode(place.photos), os.fsencode(archive)
    assert archives.archive(here, there, known, lambda _: None) == (5, 0)
    assert files(archive).keys() == {*names}
    assert files(place.photos) == {}


def test_a_photo_whose_names_in_the_archive_are_taken_stays_and_is_told(
    place: Place, archive: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place.add("a.png")
    known = classified(place, "a.png")
    assert known.digest is not None
    archive.mkdir()
    there = {"a.png": b"another", f"a-{known.digest.hex()[:12]}.png": b"a third"}
    for name, content in there.items():
        (archive / name).write_bytes(content)
    assert move(place, archive, known) == (0, 1)
    assert "'a.png' stays: its names in the archive are taken by other files" in caplog.messages
    assert (files(archive), files(place.photos).keys()) == (there, {"a.png"})


def test_no_name_of_a_photo_that_stays_makes_a_line_of_the_log(
    place: Place, archive: Path, caplog: pytest.LogCaptureFixture
) -> None:
    name = "a\x1b[31m\n2026-11-27 INFO forged.png"
    caplog.set_level("INFO")
    place.add(name)
    known = classified(place, name)
    with place.failing_to_remove(name, DENIED):
        assert move(place, archive, known) == (0, 1)
    place.output.touch()  # no folder
    assert move(place, place.output, known) == (0, 1)
    altered_in_secret(place.photos / name)
    assert move(place, archive, known) == (0, 0)
    assert len(caplog.messages) == 3
    assert "".join(caplog.messages).isprintable()


def test_a_photo_whose_copy_is_cut_short_stays(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.add("a.png")
    monkeypatch.setattr("garments.batch.archive.os.link", stay_apart)
    monkeypatch.setattr(
        "garments.batch.archive.shutil.copyfileobj", lambda old, new: new.write(old.read()[:-1])
    )
    with fake_service() as service:
        counts = place.night(service, archive=tmp_path / "archive")
    assert (counts.archived, counts.stuck) == (0, 1)
    assert files(place.photos).keys() == {"a.png"}
    assert files(tmp_path / "archive") == {}


def test_a_photo_that_changes_while_it_is_copied_stays_and_is_not_told_as_stuck(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meanwhile(old: BinaryIO, new: BinaryIO) -> None:
        place.add("a.png", length=30)
        new.write(old.read())

    place.add("a.png")
    known = classified(place, "a.png")
    monkeypatch.setattr("garments.batch.archive.os.link", stay_apart)
    monkeypatch.setattr("garments.batch.archive.shutil.copyfileobj", meanwhile)
    assert move(place, tmp_path / "archive", known) == (0, 0)
    assert files(place.photos).keys() == {"a.png"}
    assert files(tmp_path / "archive") == {}


def test_a_photo_is_removed_once_its_copy_is_on_the_disk_and_the_queue_knows_where(
    place: Place, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.add("a/b/c.png")
    source, target = place.photos / "a" / "b" / "c.png", archive / "a" / "b" / "c.png"
    steps: list[tuple[str, object]] = []
    follow, unlink = Archived.follow, os.unlink

    def sync(folder: bytes) -> None:
        assert target.exists()  # or it would not be in the folder that is on the disk
        steps.append(("synced", Path(os.fsdecode(folder))))

    def followed(self: Archived, directory: bytes, names: Mapping[bytes, bytes]) -> None:
        steps.append(("told", names))
        follow(self, directory, names)

    def removed(path: bytes) -> None:
        if path == os.fsencode(source):
            steps.append(("removed", path))
        unlink(path)

    monkeypatch.setattr("garments.batch.archive.sync", sync)
    monkeypatch.setattr(Archived, "follow", followed)
    monkeypatch.setattr("garments.batch.archive.os.unlink", removed)
    with fake_service() as service:
        place.night(service, archive=archive)
    folders = (target.parent, target.parent.parent, archive, archive.parent)
    assert sorted(steps[:4]) == sorted(("synced", folder) for folder in folders)
    assert steps[4:] == [
        ("told", {b"a/b/c.png": b"a/b/c.png"}),
        ("removed", os.fsencode(source)),
    ]


def test_all_new_folders_above_an_archive_are_on_the_disk_before_a_photo_is_removed(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.add("a.png")
    archive, synced = tmp_path / "2026" / "11" / "27", list[Path]()

    def sync(folder: bytes) -> None:
        assert (place.photos / "a.png").exists()
        synced.append(Path(os.fsdecode(folder)))

    monkeypatch.setattr("garments.batch.archive.sync", sync)
    assert move(place, archive, classified(place, "a.png")) == (1, 0)
    assert {*synced} == {archive, archive.parent, archive.parent.parent, tmp_path}


def test_nothing_is_put_on_the_disk_where_nothing_is_left_to_archive(
    place: Place, tmp_path: Path
) -> None:
    place.add("a.png")
    known = classified(place, "a.png")
    (place.photos / "a.png").unlink()  # by whoever took it away
    assert move(place, tmp_path / "2026" / "11", known) == (0, 0)


# A file that changes


@pytest.mark.parametrize("size", [21, 30, 10])
def test_a_file_that_changes_while_it_is_read_is_still_being_written(
    size: int, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.add("a.png")
    path = place.photos / "a.png"
    all_of = photo._all_of

    def meanwhile(descriptor: int, length: int) -> bytes:
        content = all_of(descriptor, length)
        place.add("a.png", length=size)
        os.utime(path, ns=(1, 1))  # two writes of one moment may leave the time as it was
        return content

    monkeypatch.setattr(photo, "_all_of", meanwhile)
    with pytest.raises(photo.StillWritten) as told:
        photo.read(os.fsencode(path), stamp_of(path.stat()), settle_seconds=0)
    assert told.value.stamp == stamp_of(path.stat())


def test_a_file_that_is_read_with_other_bytes_than_it_has_is_still_being_written(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.add("a.png")
    path = place.photos / "a.png"
    for content in (b"x" * 20, b"x" * 22):
        monkeypatch.setattr(photo, "_all_of", lambda *_, content=content: content)
        with pytest.raises(photo.StillWritten):
            photo.read(os.fsencode(path), stamp_of(path.stat()), settle_seconds=0)


def test_a_photo_that_is_read_leaves_no_file_open(place: Place) -> None:
    place.add("a.png")
    path = place.photos / "a.png"
    name, stamp = os.fsencode(path), stamp_of(path.stat())
    before = {*os.listdir("/dev/fd")}
    photo.read(name, stamp, settle_seconds=0)
    with pytest.raises(photo.StillWritten):
        photo.read(name, stamp._replace(size=22), settle_seconds=0)
    assert {*os.listdir("/dev/fd")} <= before


def test_what_is_finished_by_the_time_that_another_model_is_asked_has_a_row(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, tries = photo.read, itertools.count()

    def written(path: bytes, stamp: Stamp, settle_seconds: float) -> bytes:
        if path.endswith(b"b.png") and next(tries) < 2:  # once, and when it is looked at again
            raise photo.StillWritten(stamp)
        return read(path, stamp, settle_seconds)

    place.add("a.png", "b.png")
    monkeypatch.setattr(photo, "read", written)
    with fake_service([changing_to("ba9876543210", monkeypatch)]) as service:
        counts = place.night(service, batch_size=1, connections=1)
    assert (counts.accept, counts.left) == (2, 0)
    assert place.rows().keys() == {"a.png", "b.png"}


def test_photos_that_are_gone_are_forgotten_however_many_they_are(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("garments.batch.posting._FORGOTTEN_AT_ONCE", 2)
    forget, at_once = Store.forget, list[int]()

    def counted(store: Store, directory: bytes, names: list[bytes]) -> None:
        at_once.append(len(names))
        forget(store, directory, names)

    monkeypatch.setattr(Store, "forget", counted)
    before, between, after = ("a0", "a1", "a2"), ("c0", "c1", "c2"), ("e0", "e1", "e2")
    gone = [f"{name}.png" for name in (*before, *between, *after)]
    place.add("b.png", "d.png", *gone, length=22)  # all of them for review
    with fake_service() as service:
        place.night(service)
        for name in gone:
            (place.photos / name).unlink()
        place.night(service)
    assert sorted(name for name, _ in waiting(place)) == ["b.png", "d.png"]
    # No database takes a query with any number of names.
    assert sorted(at_once, reverse=True) == [2, 2, 2, 2, 1]


# The report


@dataclass
class Told:
    """What the report of a night was made of: its numbers, and its photos by name."""

    night: page.Summary
    review: list[str]
    unreadable: list[str]
    mismatched: list[str]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Told]:
    """The reports of all nights, in their order."""
    reports: list[Told] = []

    def render(night: page.Summary, *lists: Iterable[page.Photo]) -> list[str]:
        reports.append(Told(night, *([one.filename for one in photos] for photos in lists)))
        return []

    monkeypatch.setattr(page, "render", render)
    return reports


def counts(length: int, filled: Mapping[int, int]) -> tuple[int, ...]:
    """So many counts, all of them 0 but those `filled`, by their place."""
    return tuple(filled.get(place, 0) for place in range(length))


def test_the_report_counts_all_photos_and_apart_those_that_are_new(
    place: Place, told: list[Told], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("garments.batch.morning.LEAST_PHOTOS", 1)
    slips = place.output.parent / "slips.csv"
    slips.write_text("filename,expected\na.png,1\ngone.png,1\nlost.png,1\n")
    with fake_service() as service:
        place.add("a.png", "b.png")  # of class 1, with 90 %
        place.night(service)
        place.add("c.png", length=23)
        place.night(service, expected=slips)
    first, second = (report.night for report in told)
    assert first.classes == first.tally.classes == counts(10, {1: 2})
    assert (first.found, first.posted, first.slips_without_photo) == (2, 2, 0)
    assert second.classes == counts(10, {1: 2, 3: 1})
    assert second.confidences == counts(20, {18: 3})
    assert second.tally.classes == counts(10, {3: 1})
    assert second.tally.confidences == counts(20, {18: 1})
    assert [tally.classes for tally in second.earlier] == [first.tally.classes]
    assert (second.found, second.posted, second.slips_without_photo) == (3, 1, 2)


def as_sure_as_it_says(handler: fake.Handler, pictures: list[bytes]) -> None:
    """Answer with the confidence that a picture begins with; below a half it is doubtful."""
    entries = []
    for number, picture in enumerate(pictures):
        confidence = float(picture[:3])
        decision = "accept" if confidence > 0.5 else "review"
        said = {"filename": str(number), "confidence": confidence, "decision": decision}
        entries.append(fake.GOOD | said)
    fake.send_json(handler, {"model": fake.MODEL, "predictions": entries})


def test_the_report_shows_the_most_doubtful_and_the_surest_to_be_wrong(
    place: Place, told: list[Told], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("garments.batch.table.MOST_SHOWN", 2)
    sure = {"a": 0.3, "b": 0.1, "c": 0.2, "d": 0.7, "e": 0.8, "f": 0.9}
    for name, confidence in sure.items():
        (place.photos / f"{name}.png").write_text(f"{confidence}")
    slips = place.output.parent / "slips.csv"
    slips.write_text("filename,expected\n" + "".join(f"{name}.png,Coat\n" for name in sure))
    with fake_service(otherwise=as_sure_as_it_says) as service:
        place.night(service, expected=slips)
    (report,) = told
    assert report.review == ["b.png", "c.png"]
    assert report.mismatched == ["f.png", "e.png"]
    assert (report.night.review, report.night.mismatched) == (3, 3)


def test_the_report_shows_first_what_a_person_found_to_be_another_item(
    place: Place, told: list[Told], monkeypatch: pytest.MonkeyPatch
) -> None:
    place.add("a.png")  # accepted, as class 1
    place.add("b.png", length=22)
    slips = place.output.parent / "slips.csv"
    slips.write_text("filename,expected\na.png,Coat\nb.png,Coat\n")
    with fake_service() as service:
        place.night(service, expected=slips)
        review(place, "b.png", 9)
        place.night(service)
        place.night(service)
        place.add("c.png", "d.png")
        monkeypatch.setattr("garments.batch.table.MOST_SHOWN", 3)
        slips.write_text("filename,expected\nc.png,Coat\nd.png,Coat\n")
        place.night(service, expected=slips)
    # And before all others what is new, or it would never be seen where there are many.
    assert [report.mismatched for report in told] == [
        *(["a.png"], ["b.png", "a.png"], ["b.png", "a.png"]),
        ["c.png", "d.png", "b.png"],
    ]


def test_an_answer_without_any_doubt_is_counted_among_the_surest(
    place: Place, told: list[Told]
) -> None:
    place.add("a.png")
    with fake_service(otherwise=fake.odd({**fake.GOOD, "confidence": 1.0})) as service:
        place.night(service)
    (report,) = told
    assert report.night.confidences == counts(20, {19: 1})


def test_of_unreadable_photos_the_report_shows_the_first(
    place: Place, told: list[Told], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("garments.batch.table.MOST_SHOWN", 2)
    place.add("a.png", "b.png", "c.png")
    with fake_service(otherwise=fake.status(422, "damaged")) as service:
        place.night(service, batch_size=1)
    (report,) = told
    assert report.unreadable == ["a.png", "b.png"]
    assert report.night.unreadable == 3


@pytest.mark.parametrize(
    "step", ["garments.batch.night.write_report", "garments.store.Store.close"]
)
def test_an_interrupt_after_the_table_tells_that_it_is_written(
    step: str, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(step, interrupted)
    place.add("a.png")
    told = pytest.raises(KeyboardInterrupt, match="interrupted when .*predictions.csv was written")
    with fake_service() as service, told:
        place.night(service)
    assert place.rows().keys() == {"a.png"}


@pytest.mark.parametrize(
    ("step", "error", "told"),
    [
        ("garments.store.Store.close", StoreError("it is gone"), "it is gone"),
        (
            "garments.batch.findings.Findings.close",
            sqlite3.OperationalError("disk full"),
            r"the temporary file of names cannot be used \(disk full\)",
        ),
    ],
)
def test_what_fails_when_a_night_lets_go_tells_that_the_table_is_written(
    step: str, error: Exception, told: str, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> None:
        raise error

    monkeypatch.setattr(step, failing)
    place.add("a.png")
    raised = pytest.raises(batch.AfterwardsError, match=f"predictions.csv is written; then: {told}")
    with fake_service() as service, raised:
        place.night(service)
    assert place.rows().keys() == {"a.png"}


# Whom it speaks to


def test_no_proxy_of_the_environment_is_asked(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.add("a.png")
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with fake_service() as service:
        assert place.night(service).accept == 1


def test_who_holds_the_lock_is_told_and_nobody_before(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/predictions.db")
    with locked(database, "night 1, which was there before"):
        pass
    with (
        locked(database, "night 2"),
        pytest.raises(Busy, match="another night is running: process 2$"),
        locked(database, "night 3"),
    ):
        pass
