"""Answers of people, from the store to the folder that training reads."""

import csv
import hashlib
import io
import multiprocessing
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from garments import export_reviews
from garments.cells import name_of
from garments.export_reviews import ExportError, export
from garments.store import Photo, Stamp, Store
from garments.store.desk import Desk
from garments.store.queue import rank
from garments.store.reviews import Decision
from garments.thumbnail import thumbnail
from garments.training.labelled import NONE_OF_TEN
from garments.training.photos import read_photos
from tests.conftest import telling_nobody
from tests.pictures import encoded
from tests.test_store import answer

MANY = 2**20


class Shop:
    """A directory of photos that wait for people, and a folder for what they say."""

    def __init__(self, root: Path) -> None:
        self.photos, self.folder = root / "photos", root / "export"
        self.photos.mkdir()
        self.url = f"sqlite:///{root}/predictions.db"
        self.store = Store(self.url)
        self.store.open()
        self.desk = Desk(self.url)

    def add(self, name: str, said: int | None, who: str = "Ana", form: str = "JPEG") -> int:
        """A photo, and what a person says of it; the number of that review."""
        noise = Image.effect_noise((200, 150), 80).convert("RGB")
        content = encoded(noise, form)
        (self.photos / name).write_bytes(content)
        digest = hashlib.sha256(content).digest()
        directory, run = os.fsencode(self.photos), self.store.runs.begin(os.fsencode(self.photos))
        photo = Photo(os.fsencode(name), Stamp(1, 2, 3), digest)
        small = thumbnail(content)
        self.store.record(
            run, directory, [photo], [answer(digest=digest, decision="review", thumbnail=small)]
        )
        self.store.wait(directory, [(photo.name, rank("doubtful", 0.5))])
        return self.desk.reviews.decide(Decision(name, digest, said, who)).id

    def export(self, *archives: Path) -> str:
        return str(export(self.desk, self.folder, archives, MANY))

    def labels(self) -> list[frozenset[int]]:
        """What training finds."""
        return sorted((photo.accepted for photo in read_photos([self.folder])), key=min)

    def content_of(self, label: str, photo: bytes, extension: str = ".jpg") -> bytes:
        """What stands in the folder of that class for a photo."""
        name = hashlib.sha256(photo).hexdigest() + extension
        return (self.folder / label / name).read_bytes()

    def files(self) -> set[str]:
        return {str(p.relative_to(self.folder)) for p in self.folder.rglob("*.*") if p.is_file()}


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(tmp_path)
    yield shop
    shop.store.close()


def test_training_reads_what_people_said(shop: Shop) -> None:
    shop.add("a.jpg", 0)
    shop.add("b.JPG", 9)
    shop.add("c.png", None, form="PNG")
    assert shop.export() == "3 photos, 0 thumbnails"
    assert shop.labels() == [frozenset({0}), frozenset({9}), frozenset({NONE_OF_TEN})]
    found = {photo.digest for photo in read_photos([shop.folder])}
    assert found == {hashlib.sha256(p.read_bytes()).hexdigest() for p in shop.photos.iterdir()}


def test_the_table_tells_what_a_person_answered_and_what_the_model_had_said(shop: Shop) -> None:
    shop.add("a.jpg", 9)
    shop.export()
    with (shop.folder / "reviews.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["answer"], row["who"], row["name"]) == ("Ankle boot", "Ana", "a.jpg")
    assert (row["said"], row["confidence"], row["model"]) == ("Dress", "0.9000", "m@1")


def test_a_correction_wins_over_the_photo_that_it_corrects(shop: Shop, tmp_path: Path) -> None:
    shop.add("a.jpg", 4)
    shop.export()
    old = tmp_path / "old" / "Dress"
    old.mkdir(parents=True)
    (old / "a.jpg").write_bytes((shop.photos / "a.jpg").read_bytes())
    (photo,) = read_photos([tmp_path / "old", shop.folder])
    assert photo.accepted == {4}


def test_a_photo_that_is_gone_or_changed_goes_in_little(shop: Shop) -> None:
    for name in ("gone.jpg", "changed.jpg", "link.jpg", "pipe.jpg", "folder.jpg"):
        shop.add(name, 3)
    (shop.photos / "gone.jpg").unlink()
    (shop.photos / "changed.jpg").write_bytes(b"another")
    (shop.photos / "link.jpg").rename(shop.photos / "target.jpg")
    (shop.photos / "link.jpg").symlink_to("target.jpg")
    (shop.photos / "pipe.jpg").unlink()
    os.mkfifo(shop.photos / "pipe.jpg")
    (shop.photos / "folder.jpg").unlink()
    (shop.photos / "folder.jpg").mkdir()
    assert shop.export() == "0 photos, 5 thumbnails"
    assert len(shop.labels()) == 5
    text = (shop.folder / "reviews.csv").read_text()
    assert text.count(",thumbnail,Ana,") == 5


def test_a_photo_that_is_larger_than_a_request_may_be_goes_in_little(shop: Shop) -> None:
    shop.add("a.jpg", 3)
    size = (shop.photos / "a.jpg").stat().st_size
    found = [str(export(shop.desk, shop.folder, (), most)) for most in (size - 1, size)]
    assert found == ["0 photos, 1 thumbnails", "1 photos, 0 thumbnails"]


def test_what_has_neither_a_photo_nor_a_thumbnail_is_told(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.add("a.jpg", 3)
    (shop.photos / "a.jpg").unlink()
    monkeypatch.setattr(shop.desk.queue, "thumbnail", lambda _: None)
    assert shop.export() == "0 photos, 0 thumbnails, 1 without a picture"
    assert shop.files() == {"reviews.csv"}


@pytest.mark.parametrize(("form", "extension"), [("PNG", ".png"), ("JPEG", ".jpg")])
def test_a_thumbnail_is_named_by_what_it_is(
    form: str, extension: str, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.add("a.webp", 3)
    (shop.photos / "a.webp").unlink()
    small = encoded(Image.new("RGB", (8, 8)), form)
    monkeypatch.setattr(shop.desk.queue, "thumbnail", lambda _: small)
    shop.export()
    (name,) = shop.files() - {"reviews.csv"}
    assert Path(name).suffix == extension


def test_an_export_leaves_no_file_open(shop: Shop) -> None:
    for name in ("whole.jpg", "folder.jpg"):
        shop.add(name, 3)
    (shop.photos / "folder.jpg").unlink()
    (shop.photos / "folder.jpg").mkdir()
    shop.export()  # the database stays open from here on
    before = os.listdir("/dev/fd")
    shop.export()
    assert os.listdir("/dev/fd") == before


def test_a_photo_of_a_phone_goes_as_it_is(shop: Shop) -> None:
    shop.add("phone.HEIC", 3, form="HEIF")
    assert shop.export() == "1 photos, 0 thumbnails"
    content = (shop.photos / "phone.HEIC").read_bytes()
    assert shop.content_of("Dress", content, ".heic") == content


def test_a_photo_whose_name_is_all_extension_is_trained_on_and_found_again(shop: Shop) -> None:
    shop.add(".JPG", 8)
    shop.export()
    (shop.photos / ".JPG").unlink()
    assert shop.export() == "1 photos, 0 thumbnails"
    assert shop.labels() == [frozenset({8})]


def test_a_photo_in_the_archive_is_found(shop: Shop, tmp_path: Path) -> None:
    shop.add("a.jpg", 3)
    shop.add("b.jpg", 3)
    archive = tmp_path / "archive"
    archive.mkdir()
    (shop.photos / "a.jpg").rename(archive / "a.jpg")
    digest = hashlib.sha256((shop.photos / "b.jpg").read_bytes()).hexdigest()
    (shop.photos / "b.jpg").rename(archive / f"b-{digest[:12]}.jpg")
    assert shop.export(archive) == "2 photos, 0 thumbnails"


def test_a_photo_goes_as_it_is_that_had_left_the_queue_when_it_was_answered(shop: Shop) -> None:
    shop.desk.reviews.undo(shop.add("a.jpg", 3), "Ana")
    shop.store.wait(os.fsencode(shop.photos), [(b"a.jpg", None)])
    content = (shop.photos / "a.jpg").read_bytes()
    shop.desk.reviews.decide(Decision("again", hashlib.sha256(content).digest(), 4, "Ana"))
    assert shop.export() == "1 photos, 0 thumbnails"
    assert shop.content_of("Coat", content) == content


def test_a_second_export_writes_only_what_is_new(shop: Shop) -> None:
    shop.add("a.jpg", 3)
    shop.export()
    (name,) = shop.files() - {"reviews.csv"}
    written = (shop.folder / name).stat()
    shop.add("b.jpg", 3)
    shop.export()
    assert len(shop.files()) == 3
    again = (shop.folder / name).stat()
    assert (again.st_mtime_ns, again.st_ino) == (written.st_mtime_ns, written.st_ino)


@pytest.mark.parametrize(("name", "form"), [("a.jpg", "JPEG"), ("a.png", "PNG")])
def test_a_photo_that_was_exported_stays_whole_when_it_has_left(
    shop: Shop, name: str, form: str
) -> None:
    shop.add(name, 4, form=form)
    shop.export()
    photo, before = (shop.photos / name).read_bytes(), shop.files()
    (shop.photos / name).unlink()
    assert shop.export() == "1 photos, 0 thumbnails"
    assert shop.files() == before
    assert shop.content_of("Coat", photo, Path(name).suffix) == photo


def test_a_photo_that_was_exported_moves_with_its_answer(shop: Shop) -> None:
    number = shop.add("a.jpg", 4)
    shop.export()
    photo = (shop.photos / "a.jpg").read_bytes()
    (shop.photos / "a.jpg").unlink()
    shop.desk.reviews.undo(number, "Ana")
    shop.desk.reviews.decide(Decision("again", hashlib.sha256(photo).digest(), 3, "Ana"))
    assert shop.export() == "1 photos, 0 thumbnails, 1 of before dropped"
    assert len(shop.files()) == 2
    assert shop.content_of("Dress", photo) == photo


def test_a_file_of_before_that_is_damaged_is_no_photo(shop: Shop) -> None:
    shop.add("a.jpg", 4)
    shop.export()
    photo = (shop.photos / "a.jpg").read_bytes()
    (name,) = shop.files() - {"reviews.csv"}
    (shop.folder / name).write_bytes(photo[:-9])
    (shop.photos / "a.jpg").unlink()
    assert shop.export() == "0 photos, 1 thumbnails"
    assert shop.content_of("Coat", photo) == thumbnail(photo)


def test_what_was_taken_back_is_dropped_and_nothing_else(shop: Shop) -> None:
    number = shop.add("a.jpg", 3)
    shop.export()
    (mine,) = shop.files() - {"reviews.csv"}
    own = {"Dress/own.jpg", "Dress/deep/" + Path(mine).name, "mine/" + Path(mine).name}
    for name in own:
        (shop.folder / name).parent.mkdir(exist_ok=True)
        (shop.folder / name).write_bytes(b"somebody's own")
    linked = "Dress/" + "0" * 64 + ".jpg"
    (shop.folder / linked).symlink_to("own.jpg")
    with (shop.folder / "reviews.csv").open("a") as table:
        table.write("../photos/a.jpg,x,x,x,x,x,x,x,x\nDress/own.jpg,x,x,x,x,x,x,x,x\n")
    shop.desk.reviews.undo(number, "Ana")
    assert shop.export() == "0 photos, 0 thumbnails, 1 of before dropped"
    assert shop.files() == {"reviews.csv", linked, *own}
    assert (shop.photos / "a.jpg").exists()


def rows(shop: Shop) -> set[str]:
    return {*(shop.folder / "reviews.csv").read_text(encoding="utf-8").splitlines()}


@pytest.fixture
def backup(shop: Shop, tmp_path: Path) -> Iterator[Shop]:
    """A shop with a database of its own, which has no answers yet, and the folder of the other."""
    (tmp_path / "backup").mkdir()
    backup = Shop(tmp_path / "backup")
    backup.folder = shop.folder
    yield backup
    backup.store.close()


def test_what_another_database_exported_stays_with_its_rows(shop: Shop, backup: Shop) -> None:
    shop.add("a.jpg", 3)
    number = shop.add("b.jpg", 4)
    shop.export()
    before, told = shop.files(), rows(shop)
    backup.add("c.jpg", 9)
    assert backup.export() == "1 photos, 0 thumbnails, 2 of before kept"
    assert shop.files() > before
    assert rows(shop) > told
    shop.desk.reviews.undo(number, "Ana")
    assert shop.export() == "1 photos, 0 thumbnails, 1 of before dropped, 1 of before kept"
    assert len(rows(shop)) == len(shop.files()) == 3


@pytest.mark.parametrize(
    ("separator", "encoding"), [(",", "cp1252"), (";", "utf-8-sig"), ("\t", "utf-16")]
)
def test_rows_of_another_database_stay_though_a_spreadsheet_saved_them_again(
    shop: Shop, backup: Shop, separator: str, encoding: str
) -> None:
    shop.add("a.jpg", 3, who="Jürgen")
    shop.export()
    table, told = shop.folder / "reviews.csv", rows(shop)
    text = table.read_text(encoding="utf-8")
    table.write_bytes(text.replace(",", separator).encode(encoding))
    assert backup.export() == "0 photos, 0 thumbnails, 1 of before kept"
    assert rows(shop) == told


def test_rows_of_another_database_stay_when_an_export_is_killed(shop: Shop, backup: Shop) -> None:
    shop.add("a.jpg", 3)
    shop.export()
    told = rows(shop)
    for name in ("b.jpg", "c.jpg"):
        backup.add(name, 9)
    killed_at_the_second_photo(backup)
    assert rows(shop) > told


@pytest.mark.parametrize("line", [b"x" * 200_000, b'"a\0'])
def test_a_file_whose_row_cannot_be_read_stays_with_its_name(
    shop: Shop, backup: Shop, line: bytes
) -> None:
    shop.add("a.jpg", 3)
    shop.export()
    (name,) = shop.files() - {"reviews.csv"}
    (shop.folder / "reviews.csv").write_bytes(line + b"\n" + name.encode())
    for _ in range(2):
        assert backup.export() == "0 photos, 0 thumbnails, 1 of before kept"
    assert rows(shop) == {",".join(export_reviews.COLUMNS), name}


def test_a_file_of_before_stays_though_it_cannot_be_made_anew(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = shop.add("a.jpg", 3)
    (shop.photos / "a.jpg").unlink()
    shop.export()
    before, told = shop.files(), rows(shop)
    monkeypatch.setattr(shop.desk.queue, "thumbnail", lambda _: None)
    assert shop.export() == "0 photos, 0 thumbnails, 1 without a picture, 1 of before kept"
    assert (shop.files(), rows(shop)) == (before, told)
    shop.desk.reviews.undo(number, "Ana")
    assert shop.export() == "0 photos, 0 thumbnails, 1 of before dropped"


def dies_at_the_second_photo(url: str, folder: Path) -> None:
    keep, kept = export_reviews._keep, []

    def kept_or_killed(path: Path, content: bytes) -> None:
        keep(path, content)
        kept.append(path)
        if len(kept) == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    export_reviews._keep = kept_or_killed  # of a process of its own
    export(Desk(url), folder, (), MANY)


def killed_at_the_second_photo(shop: Shop) -> None:
    """Export with an end of which nothing warns."""
    given = shop.url, shop.folder
    killed = multiprocessing.get_context("spawn").Process(
        target=dies_at_the_second_photo, args=given
    )
    killed.start()
    killed.join()
    assert killed.exitcode == -signal.SIGKILL


def test_what_was_taken_back_after_a_killed_export_is_dropped_by_the_next(shop: Shop) -> None:
    numbers = [shop.add("a.jpg", 3)]
    shop.export()
    numbers += [shop.add("b.jpg", 6), shop.add("c.jpg", 4)]
    killed_at_the_second_photo(shop)
    assert len(shop.files()) == 3
    for number in numbers:
        shop.desk.reviews.undo(number, "Ana")
    assert shop.export() == "0 photos, 0 thumbnails, 2 of before dropped"
    assert shop.files() == {"reviews.csv"}


def test_what_was_answered_anew_after_a_killed_export_has_one_label(shop: Shop) -> None:
    number = shop.add("a.jpg", 3)
    shop.add("b.jpg", 9)
    killed_at_the_second_photo(shop)
    shop.desk.reviews.undo(number, "Ana")
    digest = hashlib.sha256((shop.photos / "a.jpg").read_bytes()).digest()
    shop.desk.reviews.decide(Decision("again", digest, 6, "Ana"))
    assert shop.export() == "2 photos, 0 thumbnails, 1 of before dropped"
    assert shop.labels() == [frozenset({6}), frozenset({9})]


def test_an_interrupted_export_says_so_in_a_line(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(path: Path, content: bytes) -> None:
        raise KeyboardInterrupt

    shop.add("a.jpg", 3)
    monkeypatch.setattr(export_reviews, "_keep", interrupted)
    monkeypatch.setenv("GARMENTS_DATABASE_URL", shop.url)
    assert export_reviews.main([str(shop.folder)]) == 130
    assert capsys.readouterr().err == "interrupted: the same command goes on\n"


def test_a_link_in_the_place_of_a_photo_makes_room_and_what_it_leads_to_stays(
    shop: Shop, tmp_path: Path
) -> None:
    shop.add("a.jpg", 3)
    shop.export()
    (name,) = shop.files() - {"reviews.csv"}
    own = tmp_path / "own.jpg"
    own.write_bytes(b"somebody's own")
    (shop.folder / name).unlink()
    (shop.folder / name).symlink_to(own)
    assert shop.export() == "1 photos, 0 thumbnails"
    assert own.read_bytes() == b"somebody's own"
    assert (shop.folder / name).read_bytes() == (shop.photos / "a.jpg").read_bytes()


@pytest.mark.parametrize(
    ("separator", "encoding"), [(",", "cp1252"), (";", "utf-8"), ("\t", "utf-16")]
)
def test_a_table_that_was_saved_again_by_a_spreadsheet_changes_nothing(
    shop: Shop, separator: str, encoding: str
) -> None:
    number = shop.add("a.jpg", 3, who="Jürgen")
    shop.export()
    table = shop.folder / "reviews.csv"
    text = table.read_text(encoding="utf-8")
    table.write_bytes(text.replace(",", separator).encode(encoding))
    assert shop.export() == "1 photos, 0 thumbnails"
    assert table.read_text(encoding="utf-8") == text
    table.write_bytes(text.replace(",", separator).encode(encoding))
    shop.desk.reviews.undo(number, "Jürgen")
    assert shop.export() == "0 photos, 0 thumbnails, 1 of before dropped"
    assert shop.files() == {"reviews.csv"}


def test_own_photos_that_are_named_by_what_they_hold_stay(shop: Shop) -> None:
    own = shop.folder / "Dress" / f"{'0' * 64}.jpg"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"somebody's own")
    shop.add("a.jpg", 3)
    for _ in range(2):
        assert shop.export() == "1 photos, 0 thumbnails"
    assert own.read_bytes() == b"somebody's own"


def test_no_name_runs_in_a_spreadsheet(shop: Shop) -> None:
    shop.add("=1+1.jpg", 3, who="@SUM(A1)")
    shop.export()
    cells = (shop.folder / "reviews.csv").read_text().splitlines()[1].split(",")
    assert not any(cell.startswith(("=", "@", "+", "-")) for cell in cells)


@pytest.mark.parametrize("end", [";", "\t", "|", "\n", "\r"])
def test_nor_does_what_is_behind_the_end_of_a_cell_elsewhere(end: str, shop: Shop) -> None:
    shop.add(f"a{end}=1+1.jpg", 3, who=f"Ana{end}=1+1")
    shop.export()
    text = (shop.folder / "reviews.csv").read_text(encoding="utf-8")
    assert text.count("=") == 0
    (row,) = csv.DictReader(text.splitlines())
    assert name_of(row["name"]) == f"a{end}=1+1.jpg"


def test_the_command_says_what_it_did(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.add("a.jpg", 3)
    folder = shop.folder / "a new one"
    monkeypatch.setenv("GARMENTS_DATABASE_URL", shop.url)
    assert export_reviews.main([str(folder)]) == 0
    assert capsys.readouterr().out == f"{folder}: 1 photos, 0 thumbnails\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_all_is_exported_though_it_cannot_be_told(shop: Shop) -> None:
    shop.add("a.jpg", 3)
    command = ("garments.export_reviews", shop.folder)
    code, told = telling_nobody(*command, GARMENTS_DATABASE_URL=shop.url)
    assert (code, told.count("\n")) == (1, 1)
    assert told.startswith("all is exported; [Errno 28]")
    assert len(shop.files()) == 2


def test_a_folder_is_told_wherever_only_ascii_can_be(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.add("a.jpg", 3)
    output = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", output)
    monkeypatch.setenv("GARMENTS_DATABASE_URL", shop.url)
    assert export_reviews.main([str(shop.folder / "ä")]) == 0
    assert output.buffer.getvalue().endswith(b"/?: 1 photos, 0 thumbnails\n")


def test_the_command_says_how_to_have_archived_photos_whole(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.add("a.jpg", 3)
    archive = shop.photos.rename(shop.photos.with_name("archive"))
    monkeypatch.setenv("GARMENTS_DATABASE_URL", shop.url)
    assert export_reviews.main([str(shop.folder)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith(": 0 photos, 1 thumbnails")
    assert "--archive" in second
    assert export_reviews.main([str(shop.folder), "--archive", str(archive)]) == 0
    assert capsys.readouterr().out == f"{shop.folder}: 1 photos, 0 thumbnails\n"


def test_nothing_is_exported_to_where_nights_find_photos(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.add("a.jpg", 3)
    monkeypatch.setenv("GARMENTS_DATABASE_URL", shop.url)
    for folder in (shop.photos, shop.photos / "new" / "export"):
        assert export_reviews.main([str(folder)]) == 2
        assert f"is in {shop.photos}, where photos of nights are" in capsys.readouterr().err
    assert [path.name for path in shop.photos.iterdir()] == ["a.jpg"]


def test_nor_to_where_they_find_some_that_nobody_has_answered_for(
    shop: Shop, tmp_path: Path
) -> None:
    new = tmp_path / "new"
    new.mkdir()
    shop.store.runs.begin(os.fsencode(new))
    with pytest.raises(ExportError, match=f"is in {new}, where photos of nights are"):
        export(shop.desk, new / "export", (), MANY)
    assert list(new.iterdir()) == []


def test_a_folder_that_leads_in_a_circle_is_refused(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.folder.symlink_to(shop.folder.name)
    monkeypatch.setenv("GARMENTS_DATABASE_URL", shop.url)
    assert export_reviews.main([str(shop.folder)]) == 2
    assert "nothing more was exported: " in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[""], ["folder", "--archive", ""]])
def test_a_place_that_is_not_named_is_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        export_reviews.main(arguments)
    assert "it is empty: name a place, or leave it out" in capsys.readouterr().err


def test_without_a_database_the_command_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GARMENTS_DATABASE_URL", f"sqlite:///{tmp_path}/none.db")
    assert export_reviews.main([str(tmp_path / "export")]) == 2
    assert "there is no database" in capsys.readouterr().err
    assert os.listdir(tmp_path) == []
