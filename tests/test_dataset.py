import errno
import gzip
import http.server
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from garments import dataset, generated
from garments.dataset import Dataset, DatasetError
from tests import fake_service as fake
from tests.conftest import DATASET


@pytest.fixture
def few() -> Dataset:
    random = np.random.default_rng(0)
    return Dataset(
        random.integers(0, 256, (20, 28, 28), dtype=np.uint8), np.arange(20, dtype=np.uint8) % 10
    )


@pytest.fixture
def csv(few: Dataset, tmp_path: Path) -> Path:
    path = tmp_path / "few.csv"
    dataset.write_csv(few, path)
    return path


def test_a_csv_is_read_as_it_was_written(few: Dataset, csv: Path) -> None:
    assert dataset.read_csv(csv).digest == few.digest


def test_a_csv_has_the_kaggle_form(few: Dataset, csv: Path) -> None:
    header, first, *_ = csv.read_text().splitlines()
    assert header.startswith("label,pixel1,pixel2,")
    assert header.endswith(",pixel784")
    assert first.split(",") == [str(value) for value in (few.labels[0], *few.images[0].ravel())]


def replaced(line: int, change: Callable[[list[str]], list[str]]) -> Callable[[str], str]:
    def edit(text: str) -> str:
        lines = text.splitlines()
        lines[line - 1] = ",".join(change(lines[line - 1].split(",")))
        return "\n".join(lines) + "\n"

    return edit


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (replaced(1, lambda cells: ["class", *cells[1:]]), "line 1: the header must be label,"),
        (replaced(1, lambda cells: cells[:-1]), "line 1: the header must be label,"),
        (replaced(5, lambda cells: ["10", *cells[1:]]), "line 5, column label: '10' is not"),
        (replaced(5, lambda cells: cells[:-1]), "line 5: 783 pixels after the label"),
        (replaced(5, lambda cells: [*cells, "0"]), "line 5: 785 pixels after the label"),
        (replaced(2, lambda cells: [*cells, "0"]), "line 2: 785 pixels after the label"),
        (replaced(9, lambda cells: [*cells[:7], "x", *cells[8:]]), "line 9, column pixel7: 'x'"),
        (replaced(9, lambda cells: [*cells[:7], "", *cells[8:]]), "line 9, column pixel7: ''"),
        (replaced(9, lambda cells: [*cells[:7], "256", *cells[8:]]), "from 0 to 255"),
        (replaced(9, lambda cells: [*cells[:7], "-1", *cells[8:]]), "line 9, column pixel7: '-1'"),
        (replaced(9, lambda cells: [*cells[:7], "1.5", *cells[8:]]), "line 9, column pixel7"),
        (replaced(9, lambda cells: [*cells[:7], "9" * 30, *cells[8:]]), "line 9, column pixel7"),
        (lambda text: text + "7" * 200_000 + "\n", "line 22: field larger than"),
        (lambda text: text + '"' + text, "line 22: a quote in it is not closed"),
        (lambda text: text.replace("\n", "\n  \n", 3) + "x\n", "line 25: 0 pixels after the label"),
        (lambda text: text.splitlines()[0] + "\n", "line 2: there is no picture"),
        (lambda text: "", "line 1: the header must be label,"),
        (lambda text: "\x89PNG\r\n\x1a\n", "line 1: the header must be label,"),
    ],
)
def test_a_malformed_csv_is_refused_with_file_line_and_fault(
    edit: Callable[[str], str], told: str, csv: Path
) -> None:
    csv.write_text(edit(csv.read_text()))
    with pytest.raises(DatasetError) as refused:
        dataset.read_csv(csv)
    assert str(refused.value).startswith(f"{csv}, ")
    assert told in str(refused.value)


def test_only_a_line_that_cannot_be_read_is_blamed(csv: Path) -> None:
    header, first, *rows = csv.read_text().splitlines()
    label, pixel, *pixels = first.split(",")
    unusual = ",".join([f"{label}.0", f"{pixel}e0", '"7"', "007", " 7", *pixels[3:]])
    csv.write_text("\n".join([header, unusual, *rows]))
    assert dataset.read_csv(csv).images[0, 0, 1:4].tolist() == [7, 7, 7]
    csv.write_text("\n".join([header, unusual, *rows, f"x{first[1:]}"]))
    with pytest.raises(DatasetError, match=rf"line {len(rows) + 3}, column label: 'x' is not"):
        dataset.read_csv(csv)


def test_no_line_of_what_comes_through_a_pipe_is_blamed(csv: Path) -> None:
    header, first, *_ = csv.read_text().splitlines()
    reading, writing = os.pipe()
    with open(reading), open(writing, "w") as file:
        print(header, f"x{first[1:]}", sep="\n", file=file)
        file.close()
        with pytest.raises(DatasetError, match=r"fd/\d+ cannot be used, .* of a file: save it"):
            dataset.read_csv(Path(f"/dev/fd/{reading}"))


def test_surplus_cells_in_every_row_are_refused_too(csv: Path) -> None:
    header, *rows = csv.read_text().splitlines()
    csv.write_text("\n".join([header, *(f"{row},0" for row in rows)]))
    with pytest.raises(DatasetError, match="line 2: 785 pixels"):
        dataset.read_csv(csv)


def test_a_file_in_the_place_of_a_folder_is_told_by_name(few: Dataset, tmp_path: Path) -> None:
    (tmp_path / "Data").touch()
    with pytest.raises(DatasetError, match="few.csv cannot be written: File exists"):
        dataset.write_csv(few, tmp_path / "Data" / "few.csv")
    with pytest.raises(DatasetError, match="cannot be fetched .*Not a directory"):
        dataset.download_idx(tmp_path / "Data" / "idx")


cut_short = pytest.mark.parametrize(
    ("fault", "raised", "told"),
    [
        (OSError(errno.ENOSPC, "No space left"), DatasetError, "{} cannot .*No space left.*{}"),
        (KeyboardInterrupt("by hand"), KeyboardInterrupt, "by hand"),
    ],
)


@cut_short
def test_a_csv_that_is_not_written_to_its_end_leaves_nothing(
    fault: BaseException,
    raised: type[BaseException],
    told: str,
    few: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def failing(_: int) -> None:
        raise fault

    monkeypatch.setattr(dataset.os, "fsync", failing)
    with pytest.raises(raised, match=told.format("few.csv", "")):
        dataset.write_csv(few, tmp_path / "few.csv")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_csv_is_told_by_name(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"none\.csv cannot be read"):
        dataset.read_csv(tmp_path / "none.csv")


def test_a_csv_that_is_there_is_used_as_it_is(few: Dataset, tmp_path: Path) -> None:
    dataset.write_csv(few, tmp_path / "fashion-mnist_train.csv")
    assert dataset.load("train", tmp_path).digest == few.digest


def test_a_missing_csv_is_made_from_the_idx_files(test_set: Dataset, tmp_path: Path) -> None:
    assert dataset.load("test", tmp_path, DATASET).digest == test_set.digest
    assert dataset.read_csv(tmp_path / "fashion-mnist_test.csv").digest == test_set.digest


@pytest.fixture
def idx(tmp_path: Path, test_set: Dataset) -> Path:
    folder = tmp_path / "idx-files"
    shutil.copytree(dataset.find_idx(tmp_path, DATASET), folder)
    return folder


def test_the_folder_of_the_setting_comes_first(idx: Path, tmp_path: Path) -> None:
    assert dataset.find_idx(tmp_path, idx) == idx


def test_a_folder_that_lacks_a_file_is_refused(idx: Path, tmp_path: Path) -> None:
    (idx / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DatasetError, match="correct GARMENTS_DATASET_DIR"):
        dataset.find_idx(tmp_path, idx)


def test_an_idx_file_that_cannot_be_read_is_told_by_name(idx: Path) -> None:
    labels = idx / "train-labels-idx1-ubyte.gz"
    labels.unlink()
    labels.mkdir()
    with pytest.raises(DatasetError, match="ubyte.gz cannot be read: Is a directory"):
        dataset.read_idx("train", idx)


def test_a_damaged_idx_file_is_refused_by_its_digest(idx: Path) -> None:
    (idx / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(bytes(10_008)))
    with pytest.raises(DatasetError, match="t10k-labels.* is damaged or not Fashion-MNIST"):
        dataset.read_idx("test", idx)


@pytest.fixture
def address(idx: Path) -> Iterator[str]:
    """Where the IDX files can be downloaded."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(idx))

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_download_is_verified_and_whole(address: str, tmp_path: Path, test_set: Dataset) -> None:
    dataset.download_idx(tmp_path / "new", address)
    assert dataset.read_idx("test", tmp_path / "new").digest == test_set.digest
    assert {path.name for path in (tmp_path / "new").iterdir()} == set(dataset.SHA256)


def test_a_damaged_download_never_takes_its_place(address: str, idx: Path, tmp_path: Path) -> None:
    (idx / "train-images-idx3-ubyte.gz").write_bytes(b"junk")
    with pytest.raises(DatasetError, match="is damaged"):
        dataset.download_idx(tmp_path / "new", address)
    assert not (tmp_path / "new" / "train-images-idx3-ubyte.gz").exists()


def test_a_download_that_is_cut_leaves_nothing(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        http.server.SimpleHTTPRequestHandler, "do_GET", lambda one: fake.cut_in_the_body(one, [])
    )
    with pytest.raises(DatasetError, match="cannot be fetched"):
        dataset.download_idx(tmp_path / "new", address)
    assert not list((tmp_path / "new").iterdir())


def test_a_failed_download_says_what_to_do(address: str, idx: Path, tmp_path: Path) -> None:
    (idx / "train-images-idx3-ubyte.gz").unlink()
    with pytest.raises(DatasetError, match="install Debian's package dataset-fashion-mnist"):
        dataset.download_idx(tmp_path / "new", address)


def test_a_split_loses_nothing_and_follows_the_seed(few: Dataset) -> None:
    fitted, held_out = dataset.split(few, 5, seed=1)
    together = {image.tobytes() for part in (fitted, held_out) for image in part.images}
    assert together == {image.tobytes() for image in few.images}
    assert dataset.split(few, 5, seed=1)[1].digest == held_out.digest
    assert dataset.split(few, 5, seed=2)[1].digest != held_out.digest


def test_more_validation_than_rows_is_refused(few: Dataset) -> None:
    with pytest.raises(DatasetError, match="20 rows for validation cannot be held out of 20"):
        dataset.split(few, 20, seed=0)


def test_rows_are_chosen_by_limit_and_by_class(few: Dataset) -> None:
    assert generated.first_rows(few, limit=3, per_class=None) == [0, 1, 2]
    assert generated.first_rows(few, limit=None, per_class=1) == list(range(10))
    assert generated.first_rows(few, limit=12, per_class=2) == list(range(12))
    with pytest.raises(DatasetError, match="write 1 or more"):
        generated.first_rows(few, limit=0, per_class=None)


def test_a_picture_is_written_with_its_row_and_class_in_its_name(
    few: Dataset, tmp_path: Path
) -> None:
    generated.write_images(few, [13], tmp_path / "out")
    (path,) = (tmp_path / "out").iterdir()
    assert path.name == "image_13_label_3.png"
    assert (np.asarray(Image.open(path)) == few.images[13]).all()


@cut_short
def test_a_picture_that_is_not_written_to_its_end_leaves_what_was_there(
    fault: BaseException,
    raised: type[BaseException],
    told: str,
    few: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def failing(_: Image.Image, path: Path, *__: str) -> None:
        path.touch()
        raise fault

    monkeypatch.setattr(Image.Image, "save", failing)
    (tmp_path / "image_13_label_3.png").write_bytes(b"before")
    with pytest.raises(raised, match=told.format("_3.png", ": make")):
        generated.write_images(few, [13], tmp_path)
    (left,) = tmp_path.iterdir()
    assert left.read_bytes() == b"before"


def test_a_file_in_the_place_of_the_folder_for_pictures_is_told_with_the_way_out(
    few: Dataset, tmp_path: Path
) -> None:
    (tmp_path / "images").touch()
    with pytest.raises(DatasetError, match="File exists.*name another folder with --output"):
        generated.write_images(few, [13], tmp_path / "images")
