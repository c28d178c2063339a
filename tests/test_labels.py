"""Photos and their labels: what is read of folders, and what is refused or told of."""

import errno
import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from garments.dataset import DatasetError
from garments.training.labelled import NONE_OF_TEN
from garments.training.photos import as_they_came, digest_of, read_photos
from garments.training.shown import Photos
from tests.pictures import encoded, take, write_table

pytestmark = pytest.mark.slow


def test_a_table_tells_the_classes_and_the_sender(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        take(tmp_path / name)
    write_table(tmp_path, ("a.png", "Shoes", "5;7;9", "7"), ("b.png", "Hat", "", "8"))
    found = {photo.path.name: photo for photo in read_photos([tmp_path])}
    assert found["a.png"].accepted == {5, 7, 9}
    assert found["b.png"].accepted == {NONE_OF_TEN}
    assert found["b.png"].source_label == "Hat"
    assert [found[name].sender for name in ("a.png", "b.png")] == ["7", "8"]


def test_a_folder_a_class_is_named_like_it_and_a_folder_in_it_is_a_sender(tmp_path: Path) -> None:
    take(tmp_path / "T-shirt_top" / "anna" / "a.png")
    take(tmp_path / "ankle boot" / "b.png")
    take(tmp_path / "3" / "c.png")
    take(tmp_path / "0;6" / "d.png")
    take(tmp_path / "none" / "e.png")
    found = {photo.path.name: photo for photo in read_photos([tmp_path])}
    assert [set(found[f"{name}.png"].accepted) for name in "abcde"] == [{0}, {9}, {3}, {0, 6}, {10}]
    assert found["a.png"].sender == "anna"
    assert len({found[f"{name}.png"].sender for name in "bcde"}) == 4


def test_a_correction_takes_the_place_of_the_label_and_keeps_the_sender(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    content = take(first / "a.png").read_bytes()
    take(first / "b.png")
    write_table(first, ("a.png", "", "3", "7"), ("b.png", "", "3", "7"))
    (second / "Shirt").mkdir(parents=True)
    (second / "Shirt" / "other name.png").write_bytes(content)
    found = {photo.path.name: photo for photo in read_photos([first, second])}
    assert {name: set(photo.accepted) for name, photo in found.items()} == {
        "other name.png": {6},
        "b.png": {3},
    }
    assert {photo.sender for photo in found.values()} == {"7"}


def test_a_photo_keeps_its_first_label_to_be_judged_by_too(tmp_path: Path) -> None:
    for number, folder in enumerate("abc"):
        (tmp_path / folder).mkdir()
        rows = [("back.png", "", "343"[number], "7"), ("on.png", "", "345"[number], "7")]
        write_table(tmp_path / folder, *rows, ("kept.png", "", "3", "7"))
    for name in ("back", "on", "kept"):
        take(tmp_path / "a" / f"{name}.png")
    photos = read_photos([tmp_path / folder for folder in "abc"])
    assert {photo.path.stem: set(photo.accepted) for photo in photos} == {
        "back": {3}, "on": {5}, "kept": {3},
    }  # fmt: skip
    assert {photo.path.stem for photo in photos if photo.came_as} == {"on"}
    assert all(photo.accepted == {3} for photo in as_they_came(photos))


def test_a_table_of_corrections_need_not_have_the_files(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for name in ("a.png", "b.png"):
        take(first / name)
    second.mkdir()
    write_table(first, ("a.png", "Shoes", "5;7;9", "7"), ("b.png", "Shoes", "5;7;9", "7"))
    write_table(second, ("a.png", "", "7", ""))
    found = {photo.path.name: photo for photo in read_photos([first, second])}
    assert found["a.png"].accepted == {7}
    assert found["b.png"].accepted == {5, 7, 9}
    assert {photo.sender for photo in found.values()} == {"7"}


def test_a_table_of_corrections_is_refused_where_it_is_not_clear_of_what(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("first", "second", "third")]
    for number, folder in enumerate(folders[:2]):
        take(folder / "a.png", on=("white", "black")[number])
        write_table(folder, ("a.png", "", "3", "7"))
    folders[2].mkdir()
    write_table(folders[2], ("a.png", "", "4", ""))
    for before, count in ([], 0), (folders[:2], 2):
        with pytest.raises(DatasetError, match=rf"third/a\.png cannot .*, which have {count}"):
            read_photos([*before, folders[2]])
    take(folders[2] / "c.png")
    write_table(folders[2], ("a.png", "", "4", ""), ("c.png", "", "4", ""))
    with pytest.raises(DatasetError, match=r"third/a\.png cannot be read"):  # the others have c
        read_photos(folders)


def test_a_small_copy_that_is_named_by_its_photo_corrects_it(tmp_path: Path) -> None:
    photo = take(tmp_path / "photos" / "Dress" / "anna" / "a.png")
    digest = hashlib.sha256(photo.read_bytes()).hexdigest()
    take(tmp_path / "corrected" / "Shirt" / f"{digest}.jpg", on="black")
    (found,) = read_photos([tmp_path / "photos", tmp_path / "corrected"])
    assert (found.path, found.digest, found.sender) == (photo, digest, "anna")
    assert found.accepted == {6}


def test_each_of_two_photos_whose_small_copies_are_alike_is_corrected(tmp_path: Path) -> None:
    shot = Image.new("RGB", (60, 80), "navy")
    for number, label in enumerate(("Shirt", "Coat")):
        photo = tmp_path / "photos" / "Dress" / "anna" / f"{number}.png"
        photo.parent.mkdir(parents=True, exist_ok=True)
        photo.write_bytes(encoded(shot, compress_level=number))
        digest = hashlib.sha256(photo.read_bytes()).hexdigest()
        copy = tmp_path / "corrected" / label / f"{digest}.png"
        copy.parent.mkdir(parents=True)
        copy.write_bytes(encoded(shot.resize((30, 40))))
    found = read_photos([tmp_path / "photos", tmp_path / "corrected"])
    assert {photo.path.name: set(photo.accepted) for photo in found} == {"0.png": {6}, "1.png": {4}}


def test_a_photo_and_its_small_copies_are_one_photo_in_any_order(tmp_path: Path) -> None:
    photo = take(tmp_path / "photos" / "Dress" / "anna" / "a.png")
    digest = hashlib.sha256(photo.read_bytes()).hexdigest()
    take(tmp_path / "monday" / "Shirt" / f"{digest}.jpg", on="black")
    take(tmp_path / "tuesday" / "Coat" / f"{digest}.png", on="grey")
    (found,) = read_photos([tmp_path / name for name in ("monday", "tuesday", "photos")])
    assert (found.path, found.digest, found.sender) == (photo, digest, "anna")
    assert (found.accepted, found.came_as) == ({3}, {6})


def test_a_photo_that_is_named_by_its_own_digest_is_no_small_copy(tmp_path: Path) -> None:
    photo = take(tmp_path / "photos" / "Dress" / "a.png")
    digest = hashlib.sha256(photo.read_bytes()).hexdigest()
    take(tmp_path / "small" / "Dress" / f"{digest}.jpg", on="black")
    photo = photo.rename(photo.with_name(f"{digest}.png"))
    (found,) = read_photos([tmp_path / "small", tmp_path / "photos"])
    assert found.path == photo


def test_a_small_copy_that_is_another_now_is_other_data_to_learn_from(tmp_path: Path) -> None:
    photo = take(tmp_path / "photos" / "Dress" / "a.png")
    digest = hashlib.sha256(photo.read_bytes()).hexdigest()
    learnt_from = set()
    for on in ("black", "grey"):
        take(tmp_path / "small" / "Dress" / f"{digest}.jpg", on=on)
        learnt_from.add(digest_of(read_photos([tmp_path / "small"])))
    learnt_from.add(digest_of(read_photos([tmp_path / "small", tmp_path / "photos"])))
    assert len(learnt_from) == 3
    assert digest_of(read_photos([tmp_path / "photos"])) in learnt_from


def test_equal_files_are_one_photo_whatever_they_are_named_by(tmp_path: Path) -> None:
    first = take(tmp_path / "Dress" / f"{'a' * 64}.png")
    for other in ("b" * 64, "c"):
        (tmp_path / "Dress" / f"{other}.png").write_bytes(first.read_bytes())
    assert len(read_photos([tmp_path])) == 1


def test_photos_of_an_iphone_are_among_those_of_their_class(tmp_path: Path) -> None:
    (tmp_path / "Dress").mkdir()
    shot = Image.new("RGB", (60, 80), "navy")
    (tmp_path / "Dress" / "IMG_0001.HEIC").write_bytes(encoded(shot, "HEIF"))
    found = read_photos([tmp_path])
    assert [photo.path.name for photo in found] == ["IMG_0001.HEIC"]
    blue = int(Photos(found, (80, 60)).plain(np.arange(1))[0, 40, 30, 2])
    assert blue == pytest.approx(128, abs=3)


@pytest.mark.parametrize("spelling", ["anna ", " Zoë", "ANNA", "Zoe\u0308"])
def test_another_spelling_makes_no_other_contributor(spelling: str, tmp_path: Path) -> None:
    names = ("Anna", "zoë", spelling, " ")
    for name in map(str, range(len(names))):
        take(tmp_path / f"{name}.png")
    rows = [(f"{n}.png", "", "3", name) for n, name in enumerate(names)]
    senders = {photo.sender for photo in read_photos([write_table(tmp_path, *rows)])}
    digest = hashlib.sha256((tmp_path / "3.png").read_bytes()).hexdigest()
    assert senders == {"anna", "zoë", digest}
    for n, name in enumerate(names[:3]):
        take(tmp_path / "folders" / str(n) / name / "a.png", on=f"rgb({n}, 0, 0)")
    assert {photo.sender for photo in read_photos([tmp_path / "folders"])} == {"anna", "zoë"}


def test_a_contributor_may_be_a_folder_whose_name_is_not_in_utf_8(tmp_path: Path) -> None:
    names = ("M\udcfcller", "M\udcf6ller")
    learnt_from = set()
    for number, name in enumerate(names):
        take(tmp_path / str(number) / "Coat" / name / "a.png")
        learnt_from.add(digest_of(read_photos([tmp_path / str(number)])))
    assert len(learnt_from) == 2


def test_corrections_that_hold_no_photo_are_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    take(tmp_path / "photos" / "Dress" / "a.png")
    (tmp_path / "corrected").mkdir()
    assert len(read_photos([tmp_path / "photos", tmp_path / "corrected"])) == 1
    assert "corrected holds no photo and changes nothing" in caplog.text


def test_what_lies_beside_photos_is_not_taken_for_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    take(tmp_path / "Dress" / "anna" / "a.png")
    for name in (".b.png", "@eaDir/b.png", ".thumbnails/b.png", "__MACOSX/b.png"):
        take(tmp_path / "Dress" / "anna" / name)
    for name in (".git", "@eaDir"):
        take(tmp_path / name / "b.png")
    (tmp_path / "Dress" / "anna" / "c.mov").touch()
    (found,) = read_photos([tmp_path])
    assert found.path.name == "a.png"
    assert "c.mov is left out: training reads .jpg" in caplog.text
    assert len(caplog.records) == 1


def test_photos_beside_the_folders_of_classes_are_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    take(tmp_path / "Dress" / "a.png")
    for name in ("b.png", "c.JPG", ".d.png"):
        take(tmp_path / name)
    (tmp_path / "reviews.csv").touch()
    (found,) = read_photos([tmp_path])
    assert found.path.name == "a.png"
    (told,) = caplog.messages
    assert "has 2 photos in no folder of a class, which are left out: move each into" in told


def test_photos_that_a_table_does_not_list_are_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a.png", "b.png", "more/c.JPG", ".d.png"):
        take(tmp_path / name)
    (tmp_path / "SOURCES.md").touch()
    write_table(tmp_path, ("./a.png", "", "3", "7"))
    assert len(read_photos([tmp_path])) == 1
    (told,) = caplog.messages
    assert "has 2 photos that photos.csv does not list, which are left out" in told
    assert told.endswith(str(tmp_path / "b.png"))


def test_a_table_named_in_capitals_is_told_of(tmp_path: Path) -> None:
    write_table(tmp_path, ("a.png", "", "3", "7")).joinpath("photos.csv").rename(
        tmp_path / "Photos.CSV"
    )
    with pytest.raises(DatasetError, match=r"Photos\.CSV must be called photos\.csv"):
        read_photos([tmp_path])


def test_photos_in_a_folder_that_cannot_be_read_are_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    take(tmp_path / "Dress" / "anna" / "a.png")
    closed = take(tmp_path / "Dress" / "berta" / "b.png").parent
    listed = Path.iterdir

    def iterdir(folder: Path) -> Iterator[Path]:
        if folder == closed:
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return listed(folder)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    with pytest.raises(DatasetError, match="Dress/berta cannot be read: Permission denied"):
        read_photos([tmp_path])
    write_table(tmp_path, ("Dress/anna/a.png", "", "3", "7"))
    assert len(read_photos([tmp_path])) == 1
    assert "Dress/berta cannot be read: Permission denied" in caplog.text


def test_a_photo_in_two_classes_of_a_folder_is_refused(tmp_path: Path) -> None:
    content = take(tmp_path / "Dress" / "a.png").read_bytes()
    (tmp_path / "Shirt").mkdir()
    (tmp_path / "Shirt" / "b.png").write_bytes(content)
    with pytest.raises(DatasetError, match=r"Shirt/b.png and .*Dress/a.png are one photo with two"):
        read_photos([tmp_path])


def test_two_labels_are_told_by_the_places_that_have_them(tmp_path: Path) -> None:
    photo = take(tmp_path / "photos" / "Dress" / "a.png")
    digest = hashlib.sha256(photo.read_bytes()).hexdigest()
    for label in ("Coat", "Shirt"):
        take(tmp_path / "copies" / label / f"{digest}.png", on="black")
    (tmp_path / "table").mkdir()
    write_table(tmp_path / "table", *(("Dress/a.png", "", label, "") for label in "02"))
    for folder, told in {
        "copies": r"copies/Shirt/.*\.png and .*copies/Coat/.*\.png are one photo with two labels",
        "table": r"^photos\.csv lists .*table/Dress/a\.png twice, with two labels: keep one",
    }.items():
        with pytest.raises(DatasetError, match=told):
            read_photos([tmp_path / "photos", tmp_path / folder])


def test_a_photo_by_two_contributors_is_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    take(tmp_path / "a.png")
    shutil.copy(tmp_path / "a.png", tmp_path / "b.png")
    write_table(tmp_path, ("a.png", "", "3", "7"), ("b.png", "", "3", "8"), ("b.png", "", "3", ""))
    (found,) = read_photos([tmp_path])
    assert found.sender == "8"
    told, *_ = caplog.messages
    assert "b.png and " in told
    assert "a.png are one photo by two contributors: it counts as by 8" in told


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([("a.png", "", "11", "7")], r"photos.csv, line 2: '11' is no class; .*Ankle boot, none"),
        ([("gone.png", "", "3", "7")], "gone.png cannot be read"),
        ([("a.png", "", "3;none", "7")], "'3;none' is at once a class and none of them"),
        ([("a.png", "", "-1", "7")], r"photos.csv, line 2: '-1' is no class"),
    ],
)
def test_a_table_that_cannot_be_used_is_named(
    rows: list[tuple[str, ...]], told: str, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match=told):
        read_photos([write_table(tmp_path, *rows)])


HEAD = "file,accepted,sender\n"


@pytest.mark.parametrize(
    ("table", "told"),
    [
        (HEAD + "\n  \na.png,3,7\n\n,,\nb.png,11,7\n", "line 7: '11' is no class"),
        (HEAD + "a.png,3,7\n ,3,7\n", "line 3: it names no file"),
        (HEAD + "a\0.png,3,7\n", "line 2: it names no file"),
        (HEAD + 'a.png,3,"Anna,\nBerlin"\nb.png,11,7\n', "line 4: '11' is no class"),
        (HEAD + "a.png,3,7,\nb.png,3,7,\n", "line 2: it has 4 cells for 3 columns: put"),
        (HEAD + "a.png,3,7\nb.png,3,Anna,Berlin\n", "line 3: it has 4 cells"),
        (HEAD + 'a.png,3,7\n"b.png,3,7\n', "line 3: unexpected end of data"),
        (HEAD[:-1] + ",sender\n", "has the column sender twice"),
        (HEAD + "a.png,3,7\nb.png\n", "line 3: it ends before the column accepted: write none"),
        ("\n", "lacks the column accepted and file and sender; .* the first line is empty"),
        (HEAD.replace(",", ";"), "lacks .* the first line is 'file;accepted;sender'$"),
    ],
)
def test_a_table_that_is_not_regular_is_refused_with_its_line(
    table: str, told: str, tmp_path: Path
) -> None:
    (tmp_path / "photos.csv").write_text(table, encoding="utf-8")
    with pytest.raises(DatasetError, match=rf"photos\.csv,? {told}"):
        read_photos([tmp_path])


@pytest.mark.parametrize(("encoding", "line"), [("iso-8859-1", 3_002), ("utf-16", 1)])
def test_a_table_that_is_not_in_utf_8_is_refused_with_its_line_and_the_way_out(
    encoding: str, line: int, tmp_path: Path
) -> None:
    table = HEAD + "a.png,3,7\n" * 3_000 + "a.png,3,Zoë\n"
    (tmp_path / "photos.csv").write_text(table, encoding=encoding)
    told = rf"photos\.csv, line {line}: invalid .*: save it as CSV in UTF-8$"
    with pytest.raises(DatasetError, match=told):
        read_photos([tmp_path])


def test_a_table_may_have_blank_lines_short_ones_and_columns_of_its_own(tmp_path: Path) -> None:
    for name in "ab":
        take(tmp_path / f"{name}.png", on=f"rgb({ord(name)}, 0, 0)")
    rows = "\r\nfile,sender,accepted,note,\r\n\r\na.png,Zoë,3\r\nb.png,7,5;7,,\r\n,,,,\r\n"
    (tmp_path / "photos.csv").write_bytes(rows.encode("utf-8-sig"))
    found = {photo.path.stem: photo for photo in read_photos([tmp_path])}
    assert {name: (photo.sender, set(photo.accepted)) for name, photo in found.items()} == {
        "a": ("zoë", {3}), "b": ("7", {5, 7}),
    }  # fmt: skip


def test_blanks_around_the_names_of_columns_do_not_count(tmp_path: Path) -> None:
    take(tmp_path / "a.png")
    (tmp_path / "photos.csv").write_text("file, accepted, sender\na.png, 3, 7\n")
    (found,) = read_photos([tmp_path])
    assert (found.accepted, found.sender) == ({3}, "7")


def test_links_that_lead_to_no_photo_are_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    take(tmp_path / "photos" / "Dress" / "anna" / "a.png")
    take(tmp_path / "elsewhere" / "b.png")
    (tmp_path / "photos" / "Dress" / "berta").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "photos" / "Dress" / "c.png").symlink_to(tmp_path / "gone.png")
    (found,) = read_photos([tmp_path / "photos"])
    assert found.sender == "anna"
    folder, file = caplog.messages
    assert "Dress/berta is left out: it is a link to a folder" in folder
    assert "Dress/c.png is left out: it is no file, or leads to none" in file


@pytest.mark.parametrize("name", ["trousers and more", ""])
def test_a_folder_without_photos_of_a_class_is_named_with_the_way_out(
    name: str, tmp_path: Path
) -> None:
    if name:
        take(tmp_path / name / "a.png")
    with pytest.raises(DatasetError, match="the classes are T-shirt/top|one folder a class"):
        read_photos([tmp_path])
