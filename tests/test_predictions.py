import csv
import errno
import fcntl
import io
import itertools
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as how
from hypothesis import strategies as st

from garments import in_place, predictions
from garments.batch.writing import write_table
from garments.cells import cell_of, name_of
from garments.predictions import (
    Row,
    TableError,
    read_predictions,
    read_table,
    write_predictions,
)

BOOT = Row("boot.png", "9", "Ankle boot", "0.9876", "accept", "fashion-mnist@0123456789ab")
JUNK = Row("junk.png", error='no picture, "really"')


def test_the_file_has_the_columns_and_form_of_the_contract(tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    write_predictions([BOOT, JUNK], path)
    assert path.read_bytes().decode() == (
        "filename,prediction,label,confidence,decision,model,expected,error\r\n"
        "boot.png,9,Ankle boot,0.9876,accept,fashion-mnist@0123456789ab,,\r\n"
        'junk.png,,,,unreadable,,,"no picture, ""really"""\r\n'
    )


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    formula = Row("=1+1.png", "0", "T-shirt/top", "0.5000", "review", "m@1")
    write_predictions([formula, BOOT, JUNK], path)
    assert read_predictions(path, 10) == [formula, BOOT, JUNK]


def test_answers_of_people_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    coat = Row("a.png", "4", "Coat", decision="reviewed", model="m@1")
    none = Row("b.png", "", "none of these", decision="reviewed", model="m@1")
    write_predictions([coat, none], path)
    assert read_predictions(path, 10) == [coat, none]


def test_a_table_that_a_spreadsheet_marks_as_utf_8_is_read(tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    write_predictions([BOOT], path)
    path.write_text(path.read_text(), encoding="utf-8-sig")
    assert read_predictions(path, 10) == [BOOT]


@pytest.mark.parametrize("rows", [[JUNK, BOOT], [BOOT, BOOT]])
def test_rows_that_are_not_in_order_are_refused(rows: list[Row], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="comes twice, or too late"):
        write_predictions(rows, tmp_path / "predictions.csv")
    assert not os.listdir(tmp_path)


@how(max_examples=2_000)
@given(
    name=st.one_of(
        st.text(st.characters(exclude_categories=("Cs",)), min_size=1).map(os.fsencode),
        st.binary(min_size=1),
    )
    .filter(lambda name: 0 not in name and not name.startswith(b"./"))
    .map(os.fsdecode)
)
def test_every_name_survives_and_none_runs_as_a_formula(name: str) -> None:
    file = io.StringIO(newline="")
    csv.writer(file).writerow([cell_of(name)])
    ((cell,),) = csv.reader(io.StringIO(file.getvalue().encode().decode(), newline=""))
    assert name_of(cell) == name
    assert cell[0] not in "=+-@\t\r"


@pytest.mark.parametrize("quote", ["", '"'])  # which would have it quoted anyway
@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_no_formula_is_behind_what_parts_cells_elsewhere(
    separator: str, quote: str, tmp_path: Path
) -> None:
    path = tmp_path / "predictions.csv"
    row = Row(f"a{separator}=1+1{quote}{separator}=2.png", error="no picture")
    write_predictions([row], path)
    with path.open(newline="") as file:
        cells = [cell for line in csv.reader(file, delimiter=separator) for cell in line]
    assert not [cell for cell in cells if cell.startswith("=")]
    assert read_predictions(path, 10) == [row]


def test_two_cannot_write_one_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    many = [Row(f"{number}.png", error="no picture") for number in range(1000, 2000)]

    def rows() -> Iterator[Row]:
        yield from many  # some of which are in the file by then
        with pytest.raises(BlockingIOError, match="another process"):
            write_predictions([JUNK], path)
        yield JUNK

    write_predictions(rows(), path)
    assert read_predictions(path, 10) == [*many, JUNK]
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("another", [False, True], ids=["and gone", "and another is begun"])
def test_a_file_that_is_put_in_its_place_before_it_is_locked_is_made_anew(
    another: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, partial = tmp_path / "predictions.csv", tmp_path / ".predictions.csv.part"
    flock, locks = fcntl.flock, itertools.count()

    def late(file: int, how: int) -> None:
        if next(locks) == 0:  # between the moments that it is opened and locked
            partial.replace(path)
            if another:
                partial.touch()
        flock(file, how)

    def rows() -> Iterator[Row]:
        yield BOOT
        with pytest.raises(BlockingIOError, match="another process"):
            write_predictions([JUNK], path)

    monkeypatch.setattr(in_place.fcntl, "flock", late)
    write_predictions(rows(), path)
    assert read_predictions(path, 10) == [BOOT]
    assert os.listdir(tmp_path) == [path.name]


def test_what_a_killed_process_left_behind_is_written_over(tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    (tmp_path / ".predictions.csv.part").write_text("half a table")
    write_predictions([BOOT], path)
    assert read_predictions(path, 10) == [BOOT]
    assert os.listdir(tmp_path) == [path.name]


def test_what_another_user_left_behind_is_taken_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, left = tmp_path / "predictions.csv", tmp_path / ".predictions.csv.part"
    left.write_text("half a table")
    opened = os.open

    def guarded(partial: str, flags: int, *how: int) -> int:
        is_theirs = os.path.exists(partial) and os.path.samestat(os.stat(partial), theirs)
        if flags & os.O_ACCMODE != os.O_RDONLY and is_theirs:
            raise PermissionError(13, "Permission denied", str(partial))
        return opened(partial, flags, *how)

    with left.open() as held:  # a file that is gone for good may leave its number to the next
        theirs = os.fstat(held.fileno())
        monkeypatch.setattr(os, "open", guarded)
        write_predictions([BOOT], path)
    assert read_predictions(path, 10) == [BOOT]
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("plain ü 🥾.png", "plain ü 🥾.png"),
        ("=1+1.png", "./=1+1.png"),
        (os.fsdecode(b"caf\xe9 1.png"), "file:caf%E9%201.png"),
        ("file:caf%E9.png", "./file:caf%E9.png"),
        ("caf\\udce9.png", "caf\\udce9.png"),
    ],
)
def test_a_name_is_shown_as_it_is_where_that_can_be(name: str, cell: str) -> None:
    assert cell_of(name) == cell


@pytest.mark.parametrize("name", ["café.png", "Łódź 🥾.png", "=é.png"])
def test_a_name_is_shown_as_it_is_in_a_latin_1_locale_too(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    latin = ("iso-8859-1", "surrogateescape")
    monkeypatch.setattr(os, "fsencode", lambda text: text.encode(*latin))
    monkeypatch.setattr(os, "fsdecode", lambda content: content.decode(*latin))
    filename = os.fsdecode(name.encode())
    assert cell_of(filename).removeprefix("./") == name
    assert name_of(cell_of(filename)) == filename
    assert cell_of(os.fsdecode(b"caf\xe9.png")) == "file:caf%E9.png"


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "predictions.csv"
    write_predictions([BOOT], path)
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_predictions([JUNK], path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["predictions.csv"]


def test_an_interrupt_when_the_table_has_its_place_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "predictions.csv"

    def interrupted(synced: Path) -> None:
        if synced == tmp_path:
            raise KeyboardInterrupt

    monkeypatch.setattr(in_place, "sync", interrupted)
    with pytest.raises(KeyboardInterrupt, match=f"interrupted when {path} was written"):
        write_table([BOOT], path)
    assert read_predictions(path, 10)


@pytest.mark.parametrize("done", [True, False])
def test_an_interrupt_while_the_table_takes_its_place_says_whether_it_has_it(
    done: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, replace = tmp_path / "predictions.csv", Path.replace

    def interrupted(partial: Path, path: Path) -> None:
        if done:
            replace(partial, path)
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt) as told:
        write_table([BOOT], path)
    assert ("was written" in str(told.value)) is done
    assert os.listdir(tmp_path) == [path.name] * done


def test_a_file_is_on_the_disk_before_it_takes_its_place_and_its_place_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[tuple[str, Path]] = []
    replace = Path.replace

    def replaced(partial: Path, path: Path) -> Path:
        steps.append(("replaced", path))
        return replace(partial, path)

    monkeypatch.setattr(in_place, "sync", lambda path: steps.append(("synced", path)))
    monkeypatch.setattr(Path, "replace", replaced)
    path = tmp_path / "predictions.csv"
    write_predictions([BOOT], path)
    partial = tmp_path / ".predictions.csv.part"
    assert steps == [("synced", partial), ("replaced", path), ("synced", tmp_path)]


@pytest.mark.parametrize(
    ("fails", "code", "told"),
    [
        (stat.S_ISDIR, errno.EINVAL, None),
        (stat.S_ISDIR, errno.EIO, in_place.NotSynced),
        (stat.S_ISREG, errno.EINVAL, OSError),
    ],
)
def test_only_that_a_file_system_cannot_sync_folders_is_no_failure(
    fails: Callable[[int], bool],
    code: int,
    told: type[OSError] | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def sync(descriptor: int) -> None:
        if fails(os.fstat(descriptor).st_mode):
            raise OSError(code, os.strerror(code))

    monkeypatch.setattr(in_place.os, "fsync", sync)
    with pytest.raises(told) if told else nullcontext():
        write_predictions([BOOT], tmp_path / "predictions.csv")


@pytest.mark.parametrize("there", [True, False])
def test_a_link_is_followed_and_stays(there: bool, tmp_path: Path) -> None:
    share, link = tmp_path / "share", tmp_path / "predictions.csv"
    share.mkdir()
    if there:
        write_predictions([BOOT], share / "of-today.csv")
    link.symlink_to("share/of-today.csv")
    write_predictions([JUNK], link)
    assert link.is_symlink()
    assert read_predictions(share / "of-today.csv", 10) == [JUNK]
    assert os.listdir(share) == ["of-today.csv"]


def test_a_link_in_the_place_of_the_temporary_file_leads_nowhere(tmp_path: Path) -> None:
    own, path = tmp_path / "own.txt", tmp_path / "predictions.csv"
    own.write_text("somebody's own")
    (tmp_path / ".predictions.csv.part").symlink_to(own)
    write_predictions([BOOT], path)
    assert own.read_text() == "somebody's own"
    assert not path.is_symlink()
    assert read_predictions(path, 10) == [BOOT]


def test_who_may_read_and_write_a_table_may_so_the_next(tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    for mode in (0o600, 0o664):
        write_predictions([BOOT], path)
        path.chmod(mode)
        write_predictions([JUNK], path)
        assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.parametrize(
    ("mode", "left", "meanwhile"),  # left by a killed process, if anything
    [
        (0o600, None, 0o600),
        (0o640, None, 0o640),
        (0o440, None, 0o640),
        (0o600, 0o644, 0o600),
        (0o644, 0o644, 0o644),
    ],
)
def test_nobody_reads_a_table_while_it_is_written_who_may_not_read_the_old_one(
    mode: int, left: int | None, meanwhile: int, tmp_path: Path
) -> None:
    path, partial = tmp_path / "predictions.csv", tmp_path / ".predictions.csv.part"
    write_predictions([BOOT], path)
    path.chmod(mode)
    if left is not None:
        partial.touch()
        partial.chmod(left)

    def rows() -> Iterator[Row]:
        assert stat.S_IMODE(partial.stat().st_mode) == meanwhile
        yield JUNK

    write_predictions(rows(), path)
    assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_whose_a_table_is_stays(tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    write_predictions([BOOT], path)
    os.chown(path, 65_534, 65_534)
    write_predictions([JUNK], path)
    assert (path.stat().st_uid, path.stat().st_gid) == (65_534, 65_534)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
@pytest.mark.parametrize(
    ("groups", "mode", "group", "left"),
    [
        ([65_534], 0o640, 65_534, 0o640),
        ([], 0o640, 1234, 0o600),
        ([], 0o664, 1234, 0o644),
    ],
)
def test_a_table_that_another_user_writes_stays_with_its_group_or_is_for_no_other(
    groups: list[int], mode: int, group: int, left: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:  # above it anybody may come in
        os.chown(folder, 1234, -1)
        path = Path(folder) / "predictions.csv"
        write_predictions([BOOT], path)
        os.chown(path, 4321, 65_534)
        path.chmod(mode)
        with another_user(groups):
            write_predictions([JUNK], path)
        assert (path.stat().st_gid, stat.S_IMODE(path.stat().st_mode)) == (group, left)


@contextmanager
def another_user(groups: list[int]) -> Iterator[None]:
    """Be for a while who is neither root nor the owner of anything, in `groups` beside its own."""
    own = os.getgroups()
    os.setgroups(groups)
    os.setegid(1234)
    os.seteuid(1234)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(own)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "line 1: there is no column filename, prediction, label, "),
        ("a,b\n1,2\n", "line 1: there is no column filename"),
        (
            ";".join(predictions.COLUMNS) + "\n",
            "commas between them; it is 'filename;prediction;lab",
        ),
        (",".join(predictions.COLUMNS) + "\n", "has no rows below its header"),
        (",".join(predictions.COLUMNS) + "\nx.png,1\n", "line 2: more or fewer cells"),
        (",".join(predictions.COLUMNS) + "\nx.png,1,a,1,accept,m,,,,\n", "line 2: more or fewer"),
        (",".join(predictions.COLUMNS) + "\nx.png,shoe,a,1,accept,m,,\n", "line 2: 'shoe' is not"),
        (",".join(predictions.COLUMNS) + "\nx.png,10,a,1,accept,m,,\n", "line 2: '10' is not a"),
        (",".join(predictions.COLUMNS) + "\nx.png,1,a,1,maybe,m,,\n", "line 2: 'maybe' is no"),
        (",".join(predictions.COLUMNS) + "\nx.png,,a,,reviewed,m,,\n", "line 2: '' is not a"),
        (",".join(predictions.COLUMNS) + "\nx.png,1,,,unreadable,m,,\n", "line 2: '1' is not a"),
        (
            ",".join(predictions.COLUMNS) + "\nx.png,1,a,1,accept,m,,\nx.png,1,a,1,accept,m,,\n",
            "line 3: 'x.png' stands twice",
        ),
        (
            ",".join([*predictions.COLUMNS, "label"]) + "\nx.png,1,a,1,accept,m,,,b\n",
            "line 1: the column label stands twice: leave one",
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
    with pytest.raises(TableError, match=r"is no CSV in UTF-8 \(.*\): save it as one, with commas"):
        read_predictions(path, 10)


@pytest.mark.parametrize("line", [b'x.png,"a" b', b'"x.png,a', b"caf\xe9.png,a"])
def test_a_broken_line_is_told_wherever_it_stands(line: bytes, tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    lines = [b"filename,label", *(b"%d.png,a" % number for number in range(6_000))]
    path.write_bytes(b"\r\n".join([*lines[:3_001], line, *lines[3_001:]]))
    with pytest.raises(TableError, match=r"in UTF-8 after line 3001 \([^0-9]*\): save") as refused:
        read_table(path, ("filename", "label"))
    assert str(path) in str(refused.value)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="cannot be read: No such file"):
        read_predictions(tmp_path / "none.csv", 10)
