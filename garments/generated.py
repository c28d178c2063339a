"""Rows of Fashion-MNIST as pictures: which of them, and written."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from garments.dataset import LABELS, Dataset, DatasetError
from garments.in_place import made_whole


def first_rows(dataset: Dataset, limit: int | None, per_class: int | None) -> list[int]:
    """The first `limit` rows, of each class at most `per_class`; None sets no bound.

    Raises DatasetError for a bound below 1.
    """
    for bound in (limit, per_class):
        if bound is not None and bound < 1:
            raise DatasetError(f"{bound} is no number of pictures: write 1 or more")
    rows: list[int] = []
    seen = [0] * len(LABELS)
    for row, label in enumerate(dataset.labels.tolist()):
        if limit is not None and len(rows) >= limit:
            break
        if per_class is None or seen[label] < per_class:
            seen[label] += 1
            rows.append(row)
    return rows


def write_images(dataset: Dataset, rows: Iterable[int], folder: Path) -> None:
    """Write each row as `image_<row>_label_<class>.png`, 28×28 grey; each file appears whole.

    Raises DatasetError where one cannot be written.
    """
    path = folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for row in rows:
            path = folder / f"image_{row}_label_{dataset.labels[row]}.png"
            with made_whole(path) as partial:
                Image.fromarray(dataset.images[row]).save(partial, "PNG")
    except OSError as error:
        raise DatasetError(
            f"{path} cannot be written ({error.strerror or error}): make room for it, or name "
            "another folder with --output"
        ) from error
