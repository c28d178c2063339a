"""What a picture of each size and format costs, from bytes to array; `make bench-decoding` runs it.

The table stands in docs/benchmarks.md.

Linux alone tells a process how much memory it took at most, and lets it start to count anew.
"""

import io
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from benchmarks.ending import run
from garments.preprocess import Limits, to_array
from garments.settings import PROJECT


def drawn(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """An item of the data set on a sheet, with a sensor's noise, so that it packs like a photo."""
    with Image.open(PROJECT / "images" / "image_0_label_9.png") as item:
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


def cases() -> dict[str, Callable[[], bytes]]:
    """What is measured: a title, and what makes the file."""
    two, twelve, most = (1600, 1250), (4000, 3000), (5000, 5000)
    return {
        "28×28 PNG": lambda: (PROJECT / "images" / "image_0_label_9.png").read_bytes(),
        "400×534 JPEG": lambda: encoded(drawn(400, 534), "JPEG", quality=90),
        "2 megapixels, JPEG": lambda: encoded(drawn(*two), "JPEG", quality=90),
        "2 megapixels, PNG": lambda: encoded(drawn(*two), "PNG", compress_level=4),
        "2 megapixels, WebP": lambda: encoded(drawn(*two), "WEBP", quality=85),
        "2 megapixels, GIF": lambda: encoded(drawn(*two, "L"), "GIF"),
        "2 megapixels, BMP": lambda: encoded(drawn(*two), "BMP"),
        "2 megapixels, TIFF": lambda: encoded(drawn(*two), "TIFF"),
        "2 megapixels, TIFF with LZW": lambda: encoded(drawn(*two), "TIFF", compression="tiff_lzw"),
        "2 megapixels, HEIC": lambda: encoded(drawn(*two), "HEIF", quality=70),
        "12 megapixels, JPEG": lambda: encoded(drawn(*twelve), "JPEG", quality=90),
        "12 megapixels, progressive JPEG": lambda: encoded(
            drawn(*twelve), "JPEG", quality=90, progressive=True
        ),
        "12 megapixels, HEIC": lambda: encoded(drawn(*twelve), "HEIF", quality=70),
        "12 megapixels, HEIC with a thumbnail": lambda: encoded(
            drawn(*twelve), "HEIF", quality=70, thumbnails=[320]
        ),
        "25 megapixels, JPEG": lambda: encoded(drawn(*most), "JPEG", quality=90),
        "25 megapixels, progressive JPEG": lambda: encoded(
            drawn(*most), "JPEG", quality=90, progressive=True
        ),
        "25 megapixels, PNG": lambda: encoded(drawn(*most), "PNG", compress_level=1),
        "25 megapixels, PNG with alpha": lambda: encoded(
            drawn(*most, "RGBA"), "PNG", compress_level=1
        ),
        "25 megapixels, PNG of 16 bits": lambda: encoded(
            drawn(*most, "I;16"), "PNG", compress_level=1
        ),
        "25 megapixels, PNG with a palette": lambda: encoded(
            drawn(*most, "P"), "PNG", compress_level=1
        ),
        "25 megapixels, TIFF of real numbers": lambda: encoded(drawn(*most, "F"), "TIFF"),
        "25 megapixels, CMYK TIFF": lambda: encoded(drawn(*most, "CMYK"), "TIFF"),
        "25 megapixels, WebP": lambda: encoded(drawn(*most), "WEBP", quality=85),
        "25 megapixels, HEIC": lambda: encoded(drawn(*most), "HEIF", quality=70),
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


def measure(path: Path, seconds: float = 1.0) -> str:
    """Size, median time over so many seconds, and memory beyond what was there before."""
    data = path.read_bytes()
    shaped((PROJECT / "images" / "image_0_label_9.png").read_bytes())  # imports what there is
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts anew
    before = memory("VmRSS")
    times: list[float] = []
    while sum(times) < seconds:
        started = time.perf_counter()
        shaped(data)
        times.append(time.perf_counter() - started)
    size = f"{len(data) / 1e6:.1f} MB" if len(data) > 1e5 else f"{len(data) / 1e3:.1f} kB"
    took = statistics.median(times) * 1000
    return f"{size}, {shown(took)} ms, {(memory('VmHWM') - before) / 1024:.0f} MiB"


def main() -> None:
    if len(sys.argv) > 1:
        print(measure(Path(sys.argv[1])))
        return
    # Not above: a process that is measured loads no more than it needs.
    from benchmarks.tables import write
    from garments.report import table

    rows = []
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "picture"
        for title, make in cases().items():
            path.write_bytes(make())
            # Each in a process of its own, so that none finds memory that another has left.
            command = [sys.executable, "-m", "benchmarks.decoding", str(path)]
            done = subprocess.run(command, cwd=PROJECT, check=True, capture_output=True, text=True)
            rows.append([title, *done.stdout.strip().split(", ")])
            print(", ".join(rows[-1]), flush=True)
    write({"decoding": table(["picture", "file", "time", "memory at most"], rows)})


if __name__ == "__main__":
    run(main)
