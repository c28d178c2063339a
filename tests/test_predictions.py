import csv
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from garments import predictions
from garments.predictions import Row, TableError, read_predictions, write_predictions

BOOT = Row("boot.png", "9", "Ankle boot", "0.9876", "accept", "fashion-mnist@0123456789ab")
JUNK = Row("junk.png", error='no picture, "really"')


def test_the_file_has_the_columns_and_form_of_the_contract(tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    write_predictions([JUNK, BOOT], path)
    assert path.read_bytes().decode() == (
        "filename,prediction,label,confidence,decision,model,expected,error\r\n"
        "boot.png,9,Ankle boot,0.9876,accept,fashion-mnist@0123456789ab,,\r\n"
        'junk.png,,,,unreadable,,,"no picture, ""really"""\r\n'
    )


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    formula = Row("=1+1.png", "0", "T-shirt/top", "0.5000", "review", "m@1")
    write_predictions([BOOT, JUNK, formula], path)
    assert read_predictions(path, 10) == [formula, BOOT, JUNK]


@given(
    names=st.lists(
        st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1),
        min_size=1,
    )
)
def test_every_name_survives_and_none_runs_as_a_formula(
    names: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "names.csv"
    write_predictions([Row(name) for name in names], path)
    with path.open(encoding="utf-8", newline="") as file:
        written = [row["filename"] for row in csv.DictReader(file)]
    for name, shown in zip(sorted(names), written, strict=True):
        runs = name[0] in "=+-@\t\r"
        assert shown == (f"./{name}" if runs else name)


def test_a_name_that_is_not_utf_8_is_written_with_its_bytes_escaped(tmp_path: Path) -> None:
    write_predictions([Row(os.fsdecode(b"caf\xe9.png"))], tmp_path / "p.csv")
    assert "caf\\udce9.png" in (tmp_path / "p.csv").read_text(encoding="utf-8")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "predictions.csv"
    write_predictions([BOOT], path)
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(predictions.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_predictions([JUNK], path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["predictions.csv"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "line 1: there is no column filename or prediction"),
        ("a,b\n1,2\n", "line 1: there is no column filename"),
        (",".join(predictions.COLUMNS) + "\n", "has no rows below its header"),
        (",".join(predictions.COLUMNS) + "\nx.png,1\n", "line 2: more or fewer cells"),
        (",".join(predictions.COLUMNS) + "\nx.png,1,a,1,accept,m,,,,\n", "line 2: more or fewer"),
        (",".join(predictions.COLUMNS) + "\nx.png,shoe,a,1,accept,m,,\n", "line 2: 'shoe' is not"),
        (",".join(predictions.COLUMNS) + "\nx.png,10,a,1,accept,m,,\n", "line 2: '10' is not a"),
        (",".join(predictions.COLUMNS) + "\nx.png,1,a,1,maybe,m,,\n", "line 2: 'maybe' is no"),
        (
            ",".join(predictions.COLUMNS) + "\nx.png,1,a,1,accept,m,,\nx.png,1,a,1,accept,m,,\n",
            "line 3: 'x.png' stands twice",
        ),
        ("\x89PNG\x00", "there is no column|is no CSV"),
        ('filename,"', "is no CSV in UTF-8"),
    ],
)
def test_a_foreign_file_is_refused_with_the_line(text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(TableError, match=told) as refused:
        read_predictions(path, 10)
    assert str(path) in str(refused.value)


def test_a_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_bytes("filename,é".encode("latin-1"))
    with pytest.raises(TableError, match="is no CSV in UTF-8"):
        read_predictions(path, 10)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="cannot be read: No such file"):
        read_predictions(tmp_path / "none.csv", 10)
