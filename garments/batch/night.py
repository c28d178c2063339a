"""One night: every image of a directory through the service and into `predictions.csv`."""

from __future__ import annotations

import logging
import os
import stat
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from garments.batch.client import Answer, Client, UsageError
from garments.predictions import Row, write_predictions
from garments.settings import Settings

EXTENSIONS = (
    ".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".heic", ".heif",
)  # fmt: skip
_SECONDS_BETWEEN_LOG_LINES = 30.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Counts:
    """How the night ended; `accept`, `review` and `unreadable` add up to `found`."""

    found: int
    accept: int
    review: int
    unreadable: int
    seconds: float

    def __str__(self) -> str:
        return (
            f"{self.found:,} images: {self.accept:,} accepted, {self.review:,} for review, "
            f"{self.unreadable:,} unreadable, in {self.seconds:.1f} s "
            f"({self.found / max(self.seconds, 1e-9):,.0f} images/s)"
        )


def run(directory: Path, output: Path, settings: Settings) -> Counts:
    """Classify every image in `directory` and its subfolders and write `output`.

    `output` appears whole, with a row for every image, or stays as it was. Raises UsageError
    and ServiceError.
    """
    started = time.monotonic()
    output = output.absolute()
    _check_output(output)
    names = find_images(directory)
    logger.info("%s images in %s", f"{len(names):,}", directory)
    rows: list[Row] = []
    client = Client(settings)
    try:
        client.wait_until_ready()
        with tqdm(total=len(names), unit="image", disable=None) as bar:  # None: on a terminal only
            logged = time.monotonic()
            for batch in _classified(client, directory, names, settings):
                rows.extend(batch)
                bar.update(len(batch))
                if bar.disable and time.monotonic() - logged > _SECONDS_BETWEEN_LOG_LINES:
                    logged = time.monotonic()
                    logger.info("%s of %s images done", f"{len(rows):,}", f"{len(names):,}")
    finally:
        client.close()
    try:
        write_predictions(rows, output)
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error.strerror}") from error
    decisions = Counter(row.decision for row in rows)
    counts = Counts(
        found=len(names),
        accept=decisions["accept"],
        review=decisions["review"],
        unreadable=decisions["unreadable"],
        seconds=time.monotonic() - started,
    )
    logger.info("%s: %s", output.name, counts)
    return counts


def _check_output(output: Path) -> None:
    """Refuse now what a whole night's work could not be written to. Raises UsageError."""
    if output.name.lower().endswith(EXTENSIONS):
        raise UsageError(f"{output} has the name of an image: choose a --output that ends in .csv")
    replaceable = output.is_file() or not os.path.lexists(output)
    if not (output.name and replaceable and os.access(output.parent, os.W_OK | os.X_OK)):
        raise UsageError(f"{output} cannot be written: choose another --output")


def find_images(directory: Path) -> list[str]:
    """The names, relative to `directory`, of all image files in it and below, sorted.

    An image is a regular file with one of EXTENSIONS in any case; links are not followed.
    Raises UsageError for a folder that cannot be listed, since photos may be in it.
    """
    found: list[str] = []
    folders = [""]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(os.path.join(directory, folder)) as entries:
                for entry in entries:
                    name = os.path.join(folder, entry.name)
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(name)
                    elif entry.name.lower().endswith(EXTENSIONS) and entry.is_file(
                        follow_symlinks=False
                    ):
                        found.append(name)
        except OSError as error:
            raise UsageError(
                f"{directory / folder} cannot be listed: {error.strerror}; "
                "name a directory of images that this user may read"
            ) from error
    return sorted(found)


def _classified(
    client: Client, directory: Path, names: Sequence[str], settings: Settings
) -> Iterator[list[Row]]:
    """Rows, a batch at a time; as many requests are under way as there are connections."""
    batches = (
        names[start : start + settings.batch_size]
        for start in range(0, len(names), settings.batch_size)
    )
    waiting: deque[Future[list[Row]]] = deque()
    pool = ThreadPoolExecutor(settings.connections, thread_name_prefix="post")
    try:
        for batch in batches:
            waiting.append(pool.submit(_classify, client, directory, batch, settings.batch_bytes))
            # One batch more than there are threads keeps them busy and the memory flat.
            if len(waiting) > settings.connections:
                yield _finished(waiting.popleft())
        while waiting:
            yield _finished(waiting.popleft())
    except BaseException:  # an interrupt too: no thread may sleep out its pause before it ends
        client.stop()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _finished(future: Future[list[Row]]) -> list[Row]:
    # A signal in the instant before a wait is seen when the wait ends, so none may be long.
    while not future.done():
        wait([future], timeout=0.5)
    return future.result()


def _classify(client: Client, directory: Path, names: Sequence[str], most_bytes: int) -> list[Row]:
    """A row for each name, in order, in as few requests as `most_bytes` allows."""
    rows: dict[str, Row] = {}
    pictures: dict[str, bytes] = {}
    for name in names:
        try:
            picture = _read(directory / name)
        except OSError as error:
            rows[name] = Row(name, error=f"the file cannot be read: {error.strerror}")
            continue
        if pictures and sum(map(len, pictures.values())) + len(picture) > most_bytes:
            rows |= _posted(client, pictures)
            pictures = {}
        pictures[name] = picture
    if pictures:
        rows |= _posted(client, pictures)
    return [rows[name] for name in names]


def _read(path: Path) -> bytes:
    """The bytes of a regular file; what was one when it was found may be a pipe by now."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(0, "it is no regular file")
        return file.read()


def _posted(client: Client, pictures: dict[str, bytes]) -> dict[str, Row]:
    answers = client.classify(list(pictures.values()))
    return {name: _row(name, answer) for name, answer in zip(pictures, answers, strict=True)}


def _row(name: str, answer: Answer) -> Row:
    if "error" in answer:
        return Row(name, error=str(answer["error"]["detail"]))
    return Row(
        filename=name,
        prediction=str(answer["prediction"]),
        label=answer["label"],
        confidence=f"{answer['confidence']:.4f}",
        decision=answer["decision"],
        model=answer["model"],
    )
