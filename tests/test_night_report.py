"""What a night leaves for the morning: its report, and previews of photos."""

import errno
import fcntl
import hashlib
import io
import os
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

from garments import batch
from garments.preprocess import Limits, on_white, read_picture
from garments.settings import Settings
from garments.store import Busy, Database, Store
from garments.store.nights import Nights
from garments.thumbnail import _MOST, _MOST_PIXELS, thumbnail
from tests import fake_service as fake
from tests import hostile
from tests.conftest import PROJECT
from tests.fake_service import fake_service
from tests.pictures import encoded
from tests.places import Place, files, report, slips


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


def test_the_report_tells_how_many_count_as_a_class_though_none_is_likelier(place: Place) -> None:
    place.add("a.png", "b.png", "c.png")

    def doubtful(confidence: float) -> fake.Behaviour:
        top = [{"label": "Bag", "confidence": confidence}] * 3
        return fake.odd({**fake.GOOD, "confidence": confidence, "decision": "review", "top": top})

    with fake_service([doubtful(0.1), doubtful(0.004), doubtful(0.003)]) as service:
        place.night(service, batch_size=1, connections=1)
    # With 0.1 for each of ten classes nothing is left for none of them.
    assert "also where it finds none of the ten likelier (2 photos)" in report(place)


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
        place.night(service)
    assert "No photo is new since the last report" in report(place)


def test_the_report_holds_a_night_against_the_last_30(place: Place) -> None:
    place.add(*(f"{number}.png" for number in range(50)))
    counts = {"posted": 1000, "classes": [100] * 10, "confidences": [50] * 20}
    with closing(Store(place.settings.database_url)) as store:
        store.open()
        for _ in range(31):
            run = store.runs.begin(os.fsencode(os.path.realpath(place.photos)))
            store.runs.finish(run, "model@1", counts)
    with fake_service() as service:
        place.night(service)
    assert "Before: 30 nights" in report(place)
    assert "30 of the nights before were answered by another model" in report(place)


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
    monkeypatch.setattr("garments.in_place.sync", failing)
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


@pytest.mark.parametrize("size", [(800, 600), (40, 40)])
@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_a_thumbnail_carries_no_words(form: str, size: tuple[int, int]) -> None:
    photo, exif, note = Image.effect_noise(size, 50), Image.Exif(), PngInfo()
    exif[ExifTags.Base.ImageDescription] = "taken at Elm Street 5"
    note.add_text("Comment", "taken at Elm Street 5")
    said = {"comment": b"taken at Elm Street 5"} if form == "JPEG" else {"pnginfo": note}
    for words in (said, {"exif": exif.tobytes()}):
        small = thumbnail(encoded(photo, form, **words))
        assert small is not None
        assert b"Elm Street" not in small


def test_a_little_picture_that_can_be_seen_through_is_laid_on_white_pixel_by_pixel() -> None:
    clear = Image.new("LA", (28, 28), (0, 0))
    clear.putpixel((3, 4), (90, 255))
    palette = clear.convert("L").convert("P")
    cut = {"transparency": 0}
    for picture, how in ((clear, {}), (clear.convert("RGBA"), {}), (palette, cut)):
        small = thumbnail(encoded(picture, **how))
        assert small is not None
        shown = Image.open(io.BytesIO(small))
        assert (shown.format, shown.size, shown.mode) == ("PNG", (28, 28), "RGB")


@pytest.mark.parametrize(
    ("samples", "most", "white"),
    [
        (np.uint16, 40_000, 1),
        (np.uint16, 40_000, 0),
        (np.int32, 200, 1),
        (np.int32, 90_000, 1),
        (np.float32, 1, 1),
        (np.float32, 255, 1),
        (np.float32, 40_000, 0),
    ],
)
def test_a_thumbnail_of_many_bits_looks_as_the_model_sees_it(
    samples: type, most: int, white: int
) -> None:
    slope = np.linspace(0, most, 300) * np.ones((200, 1))
    content = encoded(Image.fromarray(slope.astype(samples)), "TIFF", tiffinfo={262: white})
    small = thumbnail(content)
    assert small is not None
    shown = np.asarray(Image.open(io.BytesIO(small)).resize((64, 48)).convert("L"), float)
    seen = np.asarray(read_picture(content, Limits()).resize((64, 48)).convert("L"), float)
    assert np.abs(shown - seen).max() < 8


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "RGB", "RGBA", "P", "CMYK", "LAB", "I;16", "I;16B", "I", "F"]
)
def test_a_thumbnail_of_a_large_picture_of_any_mode_shows_what_the_model_sees(mode: str) -> None:
    shot = hostile.SHOT.resize((1680, 1410))
    if mode == "LAB":
        picture = Image.frombytes(mode, shot.size, shot.tobytes())
    elif mode.startswith("I;16"):
        samples = np.asarray(shot.convert("L")).astype(np.uint16) * 257
        order = ">u2" if mode.endswith("B") else "<u2"
        picture = Image.frombytes(mode, shot.size, samples.astype(order).tobytes())
    else:
        picture = shot.convert("L").convert(mode) if mode in ("I", "F") else shot.convert(mode)
    content = encoded(picture, "TIFF")
    small = thumbnail(content)
    assert small is not None
    shown = np.asarray(Image.open(io.BytesIO(small)).convert("L").resize((64, 48)), float)
    seen = on_white(read_picture(content, Limits())).convert("L").resize((64, 48))
    assert np.abs(shown - np.asarray(seen)).mean() < 2


@pytest.mark.parametrize("name", hostile.of_many_values(100))
def test_a_million_values_that_nobody_needs_do_not_hold_up_a_thumbnail(name: str) -> None:
    data = hostile.of_many_values()[name]
    started = time.thread_time()
    assert thumbnail(data) is not None
    assert time.thread_time() - started < 0.5


def test_a_heic_has_a_thumbnail_that_every_browser_shows() -> None:
    small = thumbnail(encoded(Image.new("RGB", (800, 600), "red"), "HEIF"))
    assert small is not None
    shown = Image.open(io.BytesIO(small))
    assert (shown.format, shown.size) == ("JPEG", (256, 192))


def test_of_an_odd_tag_in_a_photo_the_log_of_the_night_says_nothing() -> None:
    program = """if True:
        import io
        from PIL import Image
        from garments.thumbnail import thumbnail
        cut_off = bytes.fromhex("49492a0008000000 01000f010200ff000000ffff0000")
        photo = io.BytesIO()
        Image.new("L", (90, 90)).save(photo, "JPEG", exif=b"Exif" + bytes(2) + cut_off)
        assert thumbnail(photo.getvalue().ljust(9_000, bytes(1)))
    """
    command = [sys.executable, "-c", program]
    assert subprocess.check_output(command, cwd=PROJECT, stderr=subprocess.STDOUT) == b""


def test_a_small_file_is_its_own_thumbnail(boot: bytes) -> None:
    assert thumbnail(boot) == boot


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_a_large_file_is_never_its_own_thumbnail(form: str) -> None:
    content = encoded(Image.effect_noise((800, 600), 50), form)
    small = thumbnail(content)
    assert small is not None
    assert len(small) < len(content)


@pytest.mark.parametrize(("most", "drawn"), [(10_000, True), (9_999, False)])
def test_of_a_picture_of_very_many_pixels_no_thumbnail_is_drawn(
    most: int, drawn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("garments.thumbnail._MOST_PIXELS", most)
    small = thumbnail(encoded(Image.effect_noise((100, 100), 50)))
    assert (small is not None) == drawn


def test_of_all_that_the_service_can_be_set_to_read_a_thumbnail_is_drawn() -> None:
    most = {field.name: field.metadata["most"] for field in fields(Settings)}
    assert most["max_pixels"] == _MOST_PIXELS
    assert most["max_frames"] == most["max_scans"] == _MOST


@pytest.mark.parametrize(
    "content", [b"", b"\x89PNG\r\n\x1a\n", b"junk" * 2000, b"\x89PNG\r\n\x1a\n" + b"x" * 5000]
)
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
