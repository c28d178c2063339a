"""What a file may ask of its decoder, and what large and odd ones cost."""

import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from garments.engine import Engine
from garments.preprocess import BadImage, Limits, picture
from garments.preprocess.frames import count_frames
from garments.preprocess.scans import count_scans
from garments.preprocess.size import size_of
from tests import hostile
from tests.conftest import PROJECT
from tests.pictures import encoded, refusal, shaped, turned

# What is refused before it is decoded


@pytest.mark.parametrize(("name", "case"), hostile.refused().items(), ids=hostile.refused())
def test_a_hostile_file_is_refused_for_what_it_is(name: str, case: tuple[bytes, str]) -> None:
    data, code = case
    assert refusal(data) == code


@pytest.mark.parametrize("name", [n for n in hostile.refused() if n.startswith("bomb")])
def test_what_is_too_large_is_refused_before_it_is_decoded(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture, "_upright", lambda _: pytest.fail("it was decoded"))
    assert refusal(hostile.refused()[name][0]) == "too_many_pixels"


@pytest.mark.parametrize(
    "make", [hostile.with_scans, lambda n: hostile.as_mpo(hostile.with_scans(n))]
)
def test_the_bound_on_scans_is_exact_in_every_kind_of_jpeg(make) -> None:
    assert shaped(make(20), scans=20).shape == (28, 28, 1)
    assert refusal(make(21), scans=20) == "too_many_scans"


@pytest.mark.parametrize("turn", [1, -1])
def test_the_bound_on_a_side_is_exact(turn: int) -> None:
    longest, longer = ((side, 1)[::turn] for side in (65_535, 65_536))
    assert shaped(encoded(Image.new("L", longest))).shape == (28, 28, 1)
    assert refusal(encoded(Image.new("L", longer))) == "too_many_pixels"


def test_a_small_picture_may_be_in_a_tile_that_is_larger_but_not_in_a_huge_one() -> None:
    assert shaped(hostile.of_one_tile(1000), pixels=28 * 28).shape == (28, 28, 1)
    assert refusal(hostile.of_one_tile(1100), pixels=28 * 28) == "too_many_pixels"


@pytest.mark.parametrize("kind", range(20))
def test_no_huge_tile_is_hidden_by_the_type_of_its_side(kind: int) -> None:
    data, tag = hostile.of_one_tile(1279), struct.pack("<HHI", 322, 3, 1)
    assert data.count(tag) == 1
    for values in (0, 1, 2, 2**32 - 1):
        odd = data.replace(tag, struct.pack("<HHI", 322, kind, values))
        assert refusal(odd, pixels=28 * 28) in ("too_many_pixels", "unreadable_image")


def test_a_cropped_heic_is_bounded_by_what_it_was_before() -> None:
    data = hostile.cropped(hostile.SHOT.resize((1300, 1100)), 300)
    assert shaped(data, pixels=1300 * 1100 - 2**20).shape == (28, 28, 1)
    assert refusal(data, pixels=1300 * 1100 - 2**20 - 1) == "too_many_pixels"


@pytest.mark.parametrize("hidden", hostile.BEFORE_A_SCAN.values(), ids=hostile.BEFORE_A_SCAN)
def test_no_scan_is_hidden_by_what_stands_before_it(hidden: bytes) -> None:
    def make(count: int) -> bytes:
        first, *others = hostile.with_scans(count).split(b"\xff\xda")
        # Pillow reads what stands before the first scan, and is more particular than libjpeg.
        return first + b"\xff\xda" + (hidden + b"\xff\xda").join(others)

    assert shaped(make(20), scans=20).shape == (28, 28, 1)
    assert refusal(make(21), scans=20) == "too_many_scans"
    assert refusal(make(21)[:-2], scans=20) == "too_many_scans"


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("kind", ["film", "picture"])
def test_what_is_appended_to_a_jpeg_is_not_counted(kind: str, progressive: bool) -> None:
    photo = encoded(hostile.SHOT, "JPEG", progressive=progressive)
    appended = {"film": b"\xff\xda\0\2" * 50_000, "picture": hostile.with_scans(200)}[kind]
    assert (shaped(photo + appended) == shaped(photo)).all()


def test_a_jpeg_of_a_million_segments_is_not_counted_to_the_end() -> None:
    data = hostile.with_scans(200).replace(b"\xff\xda", b"\xff\xfe\0\2" * 20_000 + b"\xff\xda")
    started = time.thread_time()
    assert count_scans(data, 100) == 101
    assert time.thread_time() - started < 0.5


def test_what_looks_like_a_scan_in_a_thousand_notes_is_none() -> None:
    notes = b"\xff\xfe\0\4\xff\xda" * 1000
    photo = encoded(hostile.SHOT, "JPEG")
    assert count_scans(photo[:2] + notes + photo[2:], 100) == 1


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF", "HEIF", "MPO"])
def test_the_bound_on_frames_is_exact_in_every_format_that_has_them(kind: str) -> None:
    assert shaped(hostile.animated(kind, 4), frames=4).shape == (28, 28, 1)
    assert refusal(hostile.animated(kind, 5), frames=4) == "too_many_frames"


@pytest.mark.parametrize("form", ["big-endian", "BigTIFF"])
def test_the_pages_of_a_tiff_of_any_form_are_counted(form: str) -> None:
    page = Image.new("I;16B" if form == "big-endian" else "L", (8, 8))
    pages = {"save_all": True, "append_images": [page, page], "big_tiff": form == "BigTIFF"}
    data = encoded(page, "TIFF", **pages)
    assert data[:3] == {"big-endian": b"MM\0", "BigTIFF": b"II+"}[form]
    assert count_frames(picture.open_picture(data), data, 10) == 3


def test_a_gif_that_breaks_off_after_its_first_frame_is_read() -> None:
    whole = hostile.animated("GIF", 2)
    data = whole[: whole.rindex(b"!\xf9") + 20]
    assert (shaped(data)[..., 0] == hostile.ITEM).all()


def test_a_gif_of_as_many_blocks_as_64_mib_have_is_counted_to_its_end() -> None:
    whole = hostile.gif_of(1)
    data = whole[:29] + b"\2" + b"\1D" * 263_000 + b"\0;"
    assert count_frames(picture.open_picture(data), data, 10) == 1


def test_a_million_frames_are_not_counted_to_the_end() -> None:
    data = hostile.gif_of(1_000_000)
    started = time.thread_time()
    assert refusal(data) == "too_many_frames"
    assert time.thread_time() - started < 0.5


@pytest.mark.parametrize("name", hostile.of_many_parts(100))
def test_a_file_of_millions_of_parts_is_given_up_soon(name: str) -> None:
    data = hostile.of_many_parts()[name]
    started = time.thread_time()
    size_of(data)
    assert refusal(data) in ("unreadable_image", "too_many_frames")
    assert time.thread_time() - started < 1


@pytest.mark.parametrize("name", hostile.of_many_values(100))
def test_a_million_values_that_nobody_needs_are_passed_over(name: str) -> None:
    data = hostile.of_many_values()[name]
    started = time.thread_time()
    assert shaped(data).shape == (28, 28, 1)
    assert time.thread_time() - started < 0.5


def test_a_tiff_with_a_curve_of_16_bits_for_each_colour_is_read() -> None:
    curves = 3 * 2**16
    data = hostile.tiff((273, 4, 1), (301, 3, curves), after=bytes(2 * curves))
    assert len(data) > 2**16
    assert shaped(data).shape == (28, 28, 1)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
def test_a_picture_with_a_camera_s_large_exif_is_turned(kind: str) -> None:
    stored, exif = turned(hostile.SHOT, 6)
    exif[ExifTags.Base.ImageDescription] = "x" * 60_000
    found = shaped(encoded(stored, kind, exif=exif.tobytes()))
    assert np.corrcoef(found.ravel(), hostile.ITEM.ravel())[0, 1] > 0.9


@pytest.mark.parametrize("name", ["chunks.png", "pixels.png", "segments.jpg"])
def test_a_file_of_as_many_parts_as_64_mib_have_is_read(name: str) -> None:
    assert shaped(hostile.of_many_parts(100_000)[name]).shape == (28, 28, 1)


def test_a_jpeg_with_the_resources_that_photoshop_writes_is_read() -> None:
    resources = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0\0\0\0\0" * 100
    photo = encoded(hostile.SHOT, "JPEG")
    head = b"\xff\xed" + struct.pack(">H", 2 + len(resources)) + resources
    # What is appended makes it large enough for its resources to be counted.
    assert (shaped(photo[:2] + head + photo[2:] + bytes(70_000)) == shaped(photo)).all()


@pytest.mark.parametrize("name", ["runs.bmp", "chunks.png", "strips.tiff", "resources.jpg"])
def test_whoever_sends_a_file_of_too_many_parts_is_told_the_way_out(name: str) -> None:
    with pytest.raises(BadImage, match="too many small parts: save it anew, as a JPEG, a PNG or"):
        shaped(hostile.of_many_parts()[name])


def test_pages_of_a_tiff_that_go_in_a_circle_are_counted_once() -> None:
    data = bytearray(encoded(Image.fromarray(hostile.ITEM), "TIFF"))
    start = int.from_bytes(data[4:8], "little")
    end = start + 2 + 12 * int.from_bytes(data[start : start + 2], "little")
    data[end : end + 4] = data[4:8]
    assert (shaped(bytes(data), frames=1)[..., 0] == hostile.ITEM).all()


# What is read


@pytest.mark.parametrize(("name", "data"), hostile.readable().items(), ids=hostile.readable())
def test_an_odd_file_is_read(name: str, data: bytes) -> None:
    assert np.corrcoef(shaped(data).ravel(), hostile.ITEM.ravel())[0, 1] > 0.9


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "HEIF"])
def test_all_eight_turns_get_the_same_label_and_nearly_the_same_confidence(
    kind: str, engine: Engine
) -> None:
    arrays = np.stack([shaped(data) for data in hostile.turns(kind).values()])
    found = engine.probabilities(arrays)
    assert set(found.argmax(axis=1)) == {9}
    assert np.ptp(found.max(axis=1)) <= 0.02


def test_of_a_heic_its_thumbnail_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = []
    upright = picture._upright
    monkeypatch.setattr(picture, "_upright", lambda one: decoded.append(one.size) or upright(one))
    shot = hostile.SHOT.resize((800, 600))
    shaped(encoded(shot, "HEIF", thumbnails=[320]))
    shaped(encoded(shot, "HEIF"))
    assert decoded == [(320, 240), (800, 600)]


def test_other_pictures_do_not_load_what_reads_heic() -> None:
    program = """if True:
        import sys
        import garments.web
        from pathlib import Path
        from PIL import Image
        from garments.preprocess import Limits, to_array
        boot = Path("images/image_0_label_9.png").read_bytes()
        to_array(boot, 28, 28, "fashion-mnist", limits=Limits())
        assert "pillow_heif" not in sys.modules
        assert "EPS" not in Image.OPEN, "more decoders than are served were loaded"
    """
    subprocess.run([sys.executable, "-c", program], cwd=PROJECT, check=True)


@pytest.mark.parametrize("size", [(40, 30), (2520, 2115)])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_a_tiff_of_16_bits_that_is_stored_colour_by_colour_is_read(
    order: str, mode: str, size: tuple[int, int]
) -> None:
    shot = hostile.SHOT.resize(size)
    shot.putpixel((0, 0), (10, 200, 90))
    data = hostile.tiff_colour_by_colour(shot.convert(mode), order)
    expected = picture.read_picture(encoded(shot, compress_level=1), Limits())
    found = picture.read_picture(data, Limits())
    assert found.mode == "RGB"
    assert (np.asarray(found) == np.asarray(expected)).all()


def test_one_whose_colours_pillow_does_not_know_apart_is_refused() -> None:
    data = hostile.tiff_colour_by_colour(hostile.SHOT.convert("CMYK"), "<")
    assert refusal(data) == "unreadable_image"


@pytest.mark.parametrize("size", [(40, 30), (2520, 2115)])
def test_a_bmp_is_opaque_where_its_alpha_is_0_everywhere_and_nowhere_else(
    size: tuple[int, int],
) -> None:
    shot = hostile.SHOT.resize(size)
    clear = shot.copy()
    clear.putalpha(0)
    found = picture.read_picture(hostile.bmp_with_alpha(clear), Limits())
    expected = picture.read_picture(encoded(shot, "BMP"), Limits())
    assert found.mode == "RGB"
    assert (np.asarray(found) == np.asarray(expected)).all()
    clear.putpixel((0, 0), (10, 200, 90, 255))
    assert picture.read_picture(hostile.bmp_with_alpha(clear), Limits()).mode == "RGBA"


def test_that_a_library_is_not_there_is_no_fault_of_the_picture(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    photo = encoded(hostile.SHOT, "HEIF")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ImportError, match="pillow_heif"):
        shaped(photo)


# What is large

MODES = ["L", "LA", "RGB", "RGBA", "P", "1", "CMYK", "I;16", "I", "F"]


def large(mode: str) -> Image.Image:
    """The shot with 5.3 million pixels."""
    shot = hostile.SHOT.convert("L").resize((2520, 2115))
    if mode == "I;16":
        return Image.fromarray(np.asarray(shot).astype(np.uint16) * 257)
    if mode in ("LA", "RGBA"):
        transparent = shot.convert(mode)
        transparent.putalpha(shot.point(lambda value: 255 * (value < 250)))
        return transparent
    return shot.convert(mode)


@pytest.mark.parametrize("mode", MODES)
def test_a_large_picture_of_any_mode_looks_as_it_does_when_it_is_small(mode: str) -> None:
    kind = "PNG" if mode in ("L", "LA", "RGB", "RGBA", "P", "I;16") else "TIFF"
    stored, exif = turned(large(mode), 6)
    found = shaped(encoded(stored, kind, exif=exif)).astype(int)
    assert np.abs(found - shaped(encoded(hostile.SHOT)).astype(int)).mean() < 6


@pytest.mark.parametrize("size", [(64, 80), (2520, 2115)])
@pytest.mark.parametrize("bits", [np.uint8, np.uint16])
def test_a_tiff_in_which_0_is_white_looks_as_one_in_which_0_is_black(
    bits: type[np.integer], size: tuple[int, int]
) -> None:
    samples = np.asarray(hostile.SHOT.convert("L").resize(size)).astype(bits)
    samples *= np.iinfo(bits).max // 255
    black, white = (encoded(Image.fromarray(s), "TIFF") for s in (samples, ~samples))
    tag = "<HHIHH", 262, 3, 1
    assert white.count(struct.pack(*tag, 1, 0)) == 1
    white = white.replace(struct.pack(*tag, 1, 0), struct.pack(*tag, 0, 0))
    assert np.abs(shaped(white).astype(int) - shaped(black)).max() <= 1


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("size", [(2520, 2115), (65_535, 81), (81, 65_535)])
@pytest.mark.parametrize("mode", ["RGBA", "I;16", "F", "P"])
def test_a_large_picture_takes_little_more_memory_than_its_pixels(
    mode: str, size: tuple[int, int], tmp_path: Path
) -> None:
    path = tmp_path / "large"
    one = large(mode).resize(size)
    path.write_bytes(encoded(one, "TIFF"))
    program = f"""if True:
        from pathlib import Path
        from benchmarks.decoding import measure
        print(measure(Path({str(path)!r}), seconds=0.001))
    """
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT, check=True, capture_output=True, text=True
    )
    mebibytes = int(done.stdout.split(", ")[-1].split()[0])
    own = one.width * one.height * {"P": 1, "I;16": 2}.get(mode, 4) / 2**20
    assert mebibytes < own + 16


@pytest.mark.parametrize("factor", [2, 3, 7, 600])
def test_what_is_reduced_tile_by_tile_is_as_if_reduced_at_once(factor: int) -> None:
    noise = Image.effect_noise((1300, 700), 80)
    assert picture._reduced(noise, factor, 255.0) == noise.reduce(factor)


def test_large_pictures_are_decoded_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    inside, most = 0, 0
    upright = picture._upright

    def slow(one: Image.Image) -> Image.Image:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        time.sleep(0.05)
        inside -= 1
        return upright(one)

    monkeypatch.setattr(picture, "_upright", slow)
    data = encoded(large("L"))
    threads = [threading.Thread(target=shaped, args=(data,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def in_scans_of_one_colour(width: int, height: int) -> bytes:
    """A grey JPEG that is not progressive, but has its colours one after the other."""

    def segment(marker: int, content: bytes) -> bytes:
        return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content

    colours = b"".join(bytes([number, 0x11, 0]) for number in (1, 2, 3))
    one_code = bytes([1] + [0] * 15) + b"\0"
    blank = bytes(-(-width // 8) * -(-height // 8) // 4)  # two bits a block
    scans = (segment(0xDA, bytes([1, number, 0, 0, 63, 0])) + blank for number in (1, 2, 3))
    return b"".join([
        b"\xff\xd8",
        segment(0xDB, b"\0" + bytes([1]) * 64),
        segment(0xC0, struct.pack(">BHHB", 8, height, width, 3) + colours),
        segment(0xC4, b"\x00" + one_code) + segment(0xC4, b"\x10" + one_code),
        *scans,
        b"\xff\xd9",
    ])  # fmt: skip


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of each picture that is decoded, whether no other large one can be meanwhile."""
    found: list[bool] = []
    upright = picture._upright

    def watched(one: Image.Image) -> Image.Image:
        found.append(picture._one_large_picture.locked())
        return upright(one)

    monkeypatch.setattr(picture, "_upright", watched)
    return found


def test_a_small_picture_in_a_large_tile_is_decoded_alone(alone: list[bool]) -> None:
    for side in (1100, 2100):
        shaped(hostile.of_one_tile(side))
    assert alone == [False, True]


def test_a_large_heic_is_decoded_alone_though_little_of_it_is_shown(
    alone: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture, "_LARGE", 100_000)
    shaped(hostile.cropped(hostile.SHOT, 100))
    shaped(hostile.cropped(hostile.SHOT.resize((200, 200)), 100))
    assert alone == [True, False]


def test_a_heic_with_a_thumbnail_waits_for_no_other_whatever_its_bytes_look_like(
    alone: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture, "_LARGE", 100_000)
    shaped(encoded(hostile.SHOT, "HEIF", thumbnails=[320]) + b"\xff\xda\0\2" * 2)
    assert alone == [False]


def test_a_large_jpeg_in_scans_is_decoded_alone_though_little_of_it_is_made(
    alone: list[bool],
) -> None:
    for progressive in (False, True):
        shaped(encoded(large("L"), "JPEG", progressive=progressive))
    shaped(in_scans_of_one_colour(2560, 2160))
    assert alone == [False, True, True]
