"""How many photos of 400×534 pixels a second are answered; `make bench-photos PHOTOS=DIR` runs it.

The service and what asks it share the machine. Medians of several rounds that take turns.
"""

import argparse
import io
import statistics
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from benchmarks.counts import at_least_one
from benchmarks.ending import run
from benchmarks.night import our_night, timed
from benchmarks.service import free_port, memory, running, session
from garments.card import KERAS_NAME, ONNX_NAME
from garments.engine import Engine, Graph
from garments.preprocess import Limits, to_array
from garments.settings import PROJECT

SIZE = (400, 534)
AT_ONCE = 64
CONNECTIONS = 4
MODEL = PROJECT / "model" / "photo"


def jpegs(folder: Path) -> list[Path]:
    """The JPEG files of a folder and those below it."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in {".jpg", ".jpeg"})


def of_one_size(path: Path, number: int) -> bytes:
    """A photo as the camera program of a warehouse would send it, and no two alike.

    One pixel may not outlive JPEG; decoders look no further than the picture's end.
    """
    with Image.open(path) as photo:
        fitted = ImageOps.fit(photo.convert("RGB"), SIZE)
    file = io.BytesIO()
    fitted.save(file, "JPEG", quality=90)
    return file.getvalue() + number.to_bytes(8, "big")


def post(url: str, photos: Sequence[bytes]) -> None:
    """Have all photos answered over a few connections."""

    def send(some: Sequence[bytes]) -> None:
        files = [("image", (str(place), photo)) for place, photo in enumerate(some)]
        with session() as direct:
            answer = direct.post(f"{url}/predict", files=files, timeout=60).json()
        assert answer["model"]["name"] == MODEL.name
        assert not any("error" in entry for entry in answer["predictions"])

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(send, (photos[i : i + AT_ONCE] for i in range(0, len(photos), AT_ONCE))))


def in_floats(folder: Path, scratch: Path) -> Graph:
    """The model in `folder` as it was before it was made of integers, on ONNX Runtime like that."""
    # Above they would cost whoever asks for no network in floats some seconds.
    import keras

    from garments.training.export import write_onnx

    write_onnx(keras.models.load_model(folder / KERAS_NAME), scratch / ONNX_NAME)
    return Graph(scratch / ONNX_NAME)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path, help="a folder of JPEG files")
    parser.add_argument("--count", type=at_least_one, default=1_000)
    parser.add_argument("--rounds", type=at_least_one, default=3)
    given = parser.parse_args()
    paths = jpegs(given.photos)
    if not paths:
        parser.error(f"{given.photos} has no JPEG files")
    photos = [of_one_size(path, n) for n, path in enumerate(islice(cycle(paths), given.count))]
    engine = Engine(MODEL)
    card, few = engine.card, photos[:200]

    def shaped(photo: bytes) -> np.ndarray:
        shape = card.height, card.width, card.preprocessing
        return to_array(photo, *shape, limits=Limits())

    arrays = [shaped(photo)[None] for photo in few]
    rates: dict[str, list[float]] = {}
    url = f"http://127.0.0.1:{(port := free_port())}"
    command = [sys.executable, "app.py", "--port", port]
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        floats = in_floats(MODEL, place)
        for folder in ("none", "all"):
            (place / folder).mkdir()
        for number, photo in enumerate(photos):
            (place / "all" / f"{number}.jpg").write_bytes(photo)
        with running(command, f"{url}/ready") as service:
            post(url, photos[: CONNECTIONS * AT_ONCE])
            for turn in range(given.rounds):
                kept = place / f"night-{turn}"
                kept.mkdir()
                our_night(place / "none", url, kept)  # makes the tables, once in a lifetime
                for title, found in (
                    ("over HTTP", len(photos) / timed(post, url, photos)),
                    ("decoding alone, one core", len(few) / timed(list, map(shaped, few))),
                    (
                        "network alone, one core",
                        len(few) / timed(list, map(engine.probabilities, arrays)),
                    ),
                    (
                        "the same in float32",
                        len(few) / timed(list, map(floats.probabilities, arrays)),
                    ),
                    ("a night", len(photos) / timed(our_night, place / "all", url, kept)),
                ):
                    rates.setdefault(title, []).append(found)
            held = memory(service.pid)
    print(f"{len(photos):,} photos of {SIZE[0]}×{SIZE[1]}, {sum(map(len, photos)) / 1e6:.0f} MB")
    for title, measured in rates.items():
        shown = ", ".join(f"{value:,.0f}" for value in measured)
        print(f"{title:26} {statistics.median(measured):7,.0f} photos/s  ({shown})")
    print(f"{'memory of the service':26} {held:7,.0f} MiB")


if __name__ == "__main__":
    run(main)
