"""Fashion-MNIST: find it, verify it, read and write its CSV form, and split it."""

from __future__ import annotations

import csv
import gzip
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import requests

from garments.in_place import made_whole

LABELS = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
SIDE = 28
HEADER = ("label", *(f"pixel{number}" for number in range(1, SIDE * SIDE + 1)))
CSV_NAMES = {"train": "fashion-mnist_train.csv", "test": "fashion-mnist_test.csv"}

SYSTEM_DIRECTORY = Path("/usr/share/datasets/fashion-mnist")
PUBLIC_ADDRESS = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
SHA256 = {
    f"{name}-ubyte.gz": digest
    for name, digest in (
        ("train-images-idx3", "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7"),
        ("train-labels-idx1", "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056"),
        ("t10k-images-idx3", "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa"),
        ("t10k-labels-idx1", "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05"),
    )
}


class DatasetError(Exception):
    """The data is missing, damaged or malformed; the text says where and what to do."""


@dataclass(frozen=True)
class Dataset:
    """Labelled pictures: `images` uint8 (n, 28, 28), `labels` uint8 (n,)."""

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def digest(self) -> str:
        """SHA-256 of labels and pixels, whatever file form they came in."""
        return hashlib.sha256(self.labels.tobytes() + self.images.tobytes()).hexdigest()

    def take(self, rows: npt.NDArray[np.intp] | Sequence[int]) -> Dataset:
        """The given rows, in the given order."""
        return Dataset(self.images[rows], self.labels[rows])


def load(part: str, data_directory: Path, dataset_directory: Path | None = None) -> Dataset:
    """Read the CSV of `part` ("train" or "test"), making it first if it is missing.

    A CSV that is already there is used as it is. Raises DatasetError.
    """
    path = data_directory / CSV_NAMES[part]
    if not path.exists():
        found = read_idx(part, find_idx(data_directory, dataset_directory))
        write_csv(found, path)
        return found
    return read_csv(path)


def check(part: str, data_directory: Path, dataset_directory: Path | None = None) -> None:
    """Raise DatasetError where `load` would find nothing of `part`, which stays unopened.

    What is nowhere on this machine is downloaded, as `load` would.
    """
    if not (data_directory / CSV_NAMES[part]).exists():
        find_idx(data_directory, dataset_directory)


def find_idx(data_directory: Path, dataset_directory: Path | None = None) -> Path:
    """The folder that holds the four IDX files, downloaded if no folder here has them.

    Looks in `dataset_directory`, then where Debian's package puts them, then in what an
    earlier download left in `data_directory`. Raises DatasetError.
    """
    downloaded = data_directory / "idx"
    if dataset_directory is not None and _lacking(dataset_directory):
        raise DatasetError(
            f"{dataset_directory} lacks {' and '.join(_lacking(dataset_directory))}: "
            "correct GARMENTS_DATASET_DIR, or unset it to look elsewhere"
        )
    for folder in (dataset_directory, SYSTEM_DIRECTORY, downloaded):
        if folder is not None and not _lacking(folder):
            return folder
    download_idx(downloaded)
    return downloaded


def _lacking(folder: Path) -> list[str]:
    return [name for name in SHA256 if not (folder / name).is_file()]


def download_idx(folder: Path, address: str = PUBLIC_ADDRESS) -> None:
    """Fetch the four IDX files into `folder`, each whole and verified, or raise DatasetError."""
    # The files are compressed; unpacked on the way they would fail their check.
    as_it_is = {"Accept-Encoding": "identity"}
    for name, expected in SHA256.items():
        url = f"{address}/{name}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with made_whole(folder / name) as partial:
                with requests.get(url, headers=as_it_is, stream=True, timeout=60) as response:
                    response.raise_for_status()
                    with partial.open("wb") as file:
                        file.writelines(response.iter_content(2**20))
                _verify(partial, expected)
        except (requests.RequestException, OSError) as error:
            raise DatasetError(
                f"Fashion-MNIST is not on this machine and {url} cannot be "
                f"fetched ({error}): install Debian's package dataset-fashion-mnist, or put "
                "the four IDX files in a folder and set GARMENTS_DATASET_DIR to it"
            ) from error


def _verify(path: Path, expected: str) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise DatasetError(
            f"{path} is damaged or not Fashion-MNIST: its SHA-256 is {found}, "
            f"expected {expected}; delete it and get it again"
        )
    return content


def read_idx(part: str, folder: Path) -> Dataset:
    """Read and verify the IDX files of `part` ("train" or "test"). Raises DatasetError."""
    prefix = {"train": "train", "test": "t10k"}[part]
    images, labels = (
        gzip.decompress(_verify(folder / name, SHA256[name]))
        for name in (f"{prefix}-images-idx3-ubyte.gz", f"{prefix}-labels-idx1-ubyte.gz")
    )
    # The IDX header is 16 bytes for three dimensions and 8 for one; the digest vouches for it.
    return Dataset(
        images=np.frombuffer(images, np.uint8, offset=16).reshape(-1, SIDE, SIDE),
        labels=np.frombuffer(labels, np.uint8, offset=8),
    )


def write_csv(dataset: Dataset, path: Path) -> None:
    """Write the Kaggle form: `label,pixel1,…,pixel784`, a picture a line, row by row.

    The file appears whole or not at all. Raises DatasetError where it cannot be written.
    """
    text = np.array([str(value) for value in range(256)], dtype=object)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with (
            made_whole(path) as partial,
            partial.open("w", encoding="ascii", newline="\n") as file,
        ):
            file.write(",".join(HEADER) + "\n")
            for label, image in zip(dataset.labels, dataset.images, strict=True):
                file.write(f"{label},{','.join(text[image.ravel()])}\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise DatasetError(f"{path} cannot be written: {error.strerror}") from error


def read_csv(path: Path) -> Dataset:
    """Read the Kaggle form. Raises DatasetError with the file, the line and what is wrong."""
    try:
        # index_col=False would hide surplus cells; _find_fault names them instead.
        table = pd.read_csv(path, dtype=np.int32, encoding="utf-8-sig", compression=None)
        values = table.to_numpy()
        sound = (
            tuple(table.columns) == HEADER
            and isinstance(table.index, pd.RangeIndex)
            and len(values) > 0
            and values.min() >= 0
            and values.max() <= 255
            and values[:, 0].max() < len(LABELS)
        )
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, OverflowError):  # pandas' parser errors and UnicodeDecodeError too
        sound = False
    if not sound and not path.is_file():  # what comes through a pipe cannot be read again
        raise DatasetError(
            f"{path} cannot be used, and where the fault is can be told only of a file: "
            "save it as one"
        )
    if not sound:
        raise DatasetError(f"{path}, {_find_fault(path)}")
    pixels = values[:, 1:].astype(np.uint8)
    return Dataset(pixels.reshape(-1, SIDE, SIDE), values[:, 0].astype(np.uint8))


def _find_fault(path: Path) -> str:
    """Say in which line of a CSV that pandas refused, or that is out of range, the fault is."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        rows, line = csv.reader(file), 1
        try:
            if tuple(next(rows, ())) != HEADER:
                wanted = f"{HEADER[0]},{HEADER[1]},…,{HEADER[-1]}"
                return f"line 1: the header must be {wanted} ({len(HEADER)} columns)"
            line = 2
            for cells in rows:
                if fault := _fault_of(cells):
                    return f"line {line}{fault}"
                line = rows.line_num + 1
        except csv.Error as error:
            return f"line {line}: {error}"
    if line == 2:
        return "line 2: there is no picture below the header"
    return "a quoted or otherwise unusual cell: write plain numbers, separated by commas"


def _fault_of(cells: Sequence[str]) -> str | None:
    if not "".join(cells).strip() and len(cells) < 2:  # a blank line
        return None
    if "\n" in "".join(cells):
        return ": a quote in it is not closed"
    if len(cells) != len(HEADER):
        return f": {len(cells) - 1} pixels after the label, expected {SIDE * SIDE}"
    for column, cell in zip(HEADER, cells, strict=True):
        limit = len(LABELS) - 1 if column == "label" else 255
        if not _is_whole(cell, limit):
            return f", column {column}: {cell[:20]!r} is not a whole number from 0 to {limit}"
    return None


def _is_whole(cell: str, limit: int) -> bool:
    """Whether pandas reads the cell as a whole number from 0 to `limit`, as it does 7.0 and 007."""
    try:
        number = float(cell)
    except ValueError:
        return False
    return "_" not in cell and number.is_integer() and 0 <= number <= limit


def split(dataset: Dataset, validation: int, seed: int) -> tuple[Dataset, Dataset]:
    """Shuffle by `seed` and part into (to fit, `validation` rows held out).

    Raises DatasetError where either part would be empty.
    """
    if not 0 < validation < len(dataset):
        raise DatasetError(
            f"{validation} rows for validation cannot be held out of {len(dataset)}: "
            "use a CSV with more rows"
        )
    order = np.random.default_rng(seed).permutation(len(dataset))
    return dataset.take(order[validation:]), dataset.take(order[:validation])
