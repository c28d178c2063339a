"""What a picture of each size and format costs, from bytes to array; `make bench-decoding` runs it.

The table stands in docs/benchmarks.md.

Linux alone tells a process how much memory it took at most, and lets it start to count anew.
"""

import argparse
import io
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from benchmarks.ending import run
from garments.preprocess import Limits, to_array
from garments.settings import PROJECT

ITEM = PROJECT / "images" / "image_0_label_9.png"
_FEWEST = 5  # times that a picture is read


def drawn(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """An item of the data set on a sheet, with a sensor's noise, so that it packs like a photo."""
    with Image.open(ITEM) as item:
        side = min(width, height) * 3 // 4
        shot = ImageOps.invert(item.convert("L")).resize((side, side), Image.Resampling.BICUBIC)
    sheet = Image.new("L", (width, height), 235)
    sheet.paste(shot, ((width - side) // 2, (height - side) // 2))
    noise = np.random.default_rng(0).normal(0, 3, (height, width)).astype(np.float32)
    grey = np.clip(np.asarray(sheet) + noise, 0, 255).astype(np.uint8)
    if mode == "I;16":
        return Image.fromarray(grey.astype(np.uint16) * 257)
    picture = Image.fromarray(grey).convert("L" if mode == "F" else mode)
    if mode == "F":
        return picture.convert("F")
    if mode == "RGBA":
        picture.putalpha(Image.fromarray(grey).point(lambda value: 255 * (value < 200)))
    return picture


def encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    if kind == "HEIF":
        import pillow_heif

        pillow_heif.register_heif_opener()
        options["enc_params"] = {"preset": "ultrafast"}  # or it takes minutes
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


class Case(NamedTuple):
    """A kind of picture; of no kind is one of the data set, as it is."""

    size: tuple[int, int] = (28, 28)
    kind: str = ""
    options: Mapping[str, object] = MappingProxyType({})
    mode: str = "RGB"

    def made(self) -> bytes:
        """The file."""
        if not self.kind:
            return ITEM.read_bytes()
        return encoded(drawn(*self.size, self.mode), self.kind, **self.options)


_TWO, _TWELVE, _MOST = (1600, 1250), (4000, 3000), (5000, 5000)
_SMALL = (64, 64)
_JPEG: Mapping[str, object] = {"quality": 90}
_PROGRESSIVE = {**_JPEG, "progressive": True}
_HEIF: Mapping[str, object] = {"quality": 70}
_WEBP: Mapping[str, object] = {"quality": 85}
_PNG: Mapping[str, object] = {"compress_level": 1}
CASES = {
    "28×28 PNG": Case(),
    "400×534 JPEG": Case((400, 534), "JPEG", _JPEG),
    "2 megapixels, JPEG": Case(_TWO, "JPEG", _JPEG),
    "2 megapixels, PNG": Case(_TWO, "PNG", {"compress_level": 4}),
    "2 megapixels, WebP": Case(_TWO, "WEBP", _WEBP),
    "2 megapixels, GIF": Case(_TWO, "GIF", mode="L"),
    "2 megapixels, BMP": Case(_TWO, "BMP"),
    "2 megapixels, TIFF": Case(_TWO, "TIFF"),
    "2 megapixels, TIFF with LZW": Case(_TWO, "TIFF", {"compression": "tiff_lzw"}),
    "2 megapixels, HEIC": Case(_TWO, "HEIF", _HEIF),
    "12 megapixels, JPEG": Case(_TWELVE, "JPEG", _JPEG),
    "12 megapixels, progressive JPEG": Case(_TWELVE, "JPEG", _PROGRESSIVE),
    "12 megapixels, HEIC": Case(_TWELVE, "HEIF", _HEIF),
    "12 megapixels, HEIC with a thumbnail": Case(_TWELVE, "HEIF", {**_HEIF, "thumbnails": [320]}),
    "25 megapixels, JPEG": Case(_MOST, "JPEG", _JPEG),
    "25 megapixels, progressive JPEG": Case(_MOST, "JPEG", _PROGRESSIVE),
    "25 megapixels, PNG": Case(_MOST, "PNG", _PNG),
    "25 megapixels, PNG with alpha": Case(_MOST, "PNG", _PNG, "RGBA"),
    "25 megapixels, PNG of 16 bits": Case(_MOST, "PNG", _PNG, "I;16"),
    "25 megapixels, PNG with a palette": Case(_MOST, "PNG", _PNG, "P"),
    "25 megapixels, TIFF of real numbers": Case(_MOST, "TIFF", mode="F"),
    "25 megapixels, CMYK TIFF": Case(_MOST, "TIFF", mode="CMYK"),
    "25 megapixels, WebP": Case(_MOST, "WEBP", _WEBP),
    "25 megapixels, HEIC": Case(_MOST, "HEIF", _HEIF),
}


def shaped(data: bytes) -> None:
    to_array(data, 28, 28, "fashion-mnist", limits=Limits())


def shown(milliseconds: float) -> str:
    """With three digits that count."""
    return f"{milliseconds:.0f}" if milliseconds >= 100 else f"{milliseconds:.3g}"


def memory(name: str) -> int:
    """A line of /proc/self/status, in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1])


def measure(path: Path, small: Path = ITEM, seconds: float = 1.0) -> str:
    """Size, median time over so many seconds, and memory beyond what was there before.

    What a format loads once is loaded for a `small` picture of it, which is not measured.
    """
    data = path.read_bytes()
    shaped(small.read_bytes())
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts anew
    before = memory("VmRSS")
    times: list[float] = []
    while sum(times) < seconds or len(times) < _FEWEST:
        started = time.perf_counter()
        shaped(data)
        times.append(time.perf_counter() - started)
    size = f"{len(data) / 1e6:.1f} MB" if len(data) > 1e5 else f"{len(data) / 1e3:.1f} kB"
    took = statistics.median(times) * 1000
    return f"{size}, {shown(took)} ms, {(memory('VmHWM') - before) / 1024:.0f} MiB"


def measure_all() -> str:
    """The table of all cases, each printed as it is measured."""
    # Not above: a process that is measured loads no more than it needs.
    from garments.report import table

    rows = []
    with tempfile.TemporaryDirectory() as name:
        path, small = Path(name) / "picture", Path(name) / "small"
        for title, case in CASES.items():
            path.write_bytes(case.made())
            small.write_bytes(case._replace(size=_SMALL).made())
            # Each in a process of its own, so that none finds memory that another has left.
            told = subprocess.check_output(
                [sys.executable, "-m", "benchmarks.decoding", "--only", path, small],
                cwd=PROJECT,
                text=True,
            )
            rows.append([title, *told.strip().split(", ")])
            print(", ".join(rows[-1]), flush=True)
    return table(["picture", "file", "time", "memory at most"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md")
    parser.add_argument(
        "--only",
        type=Path,
        nargs=2,
        metavar=("PICTURE", "SMALL"),
        help="measure this one in this process, after a small one of its format",
    )
    given = parser.parse_args()
    if given.only:
        print(measure(*given.only))
        return
    found = measure_all()
    if given.write:
        from benchmarks.tables import write

        write({"decoding": found})


if __name__ == "__main__":
    run(main)
