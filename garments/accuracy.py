"""Hold `predictions.csv` against labels that are known."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np

from garments.cells import alike
from garments.in_place import made_whole
from garments.predictions import COLUMNS, NONE, Row, TableError, numbers_of, plain, read_table
from garments.report import Scores, as_text, mcnemar, plot_confusion, score

Right = tuple[int, ...]
"""The classes that are right for a file, as its label lists them; none of them for ()."""

_NONE_NAMES = ("none", plain(NONE))
_NO_CLASS = -1


def compare(rows: Sequence[Row], truth: Mapping[str, Right], classes: int) -> Scores:
    """Score `rows` against what is right for each filename; an unreadable one is wrong.

    Of several right classes the one that was answered counts as the true one, else the first. What
    is none of the classes is left to `beside`. Raises TableError where a row's label is not known,
    and where there is nothing to score.
    """
    unknown = [row.filename for row in rows if row.filename not in truth]
    if unknown:
        raise TableError(
            f"{len(unknown):,} of {len(rows):,} files have no label, the first is {unknown[0]!r}: "
            "add them to the file of labels"
        )
    scored = [row for row in rows if truth[row.filename]]
    if not scored:
        raise TableError(
            f"no file is of a class, so there is no accuracy; {_strangers(rows, truth)}"
        )
    answered = [_answer(row) for row in scored]
    right = [truth[row.filename] for row in scored]
    return score(
        np.array([n if n in those else those[0] for n, those in zip(answered, right, strict=True)]),
        np.array(answered),
        np.array([row.decision == "accept" for row in scored]),
        classes,
    )


def beside(rows: Sequence[Row], truth: Mapping[str, Right]) -> str:
    """Say what `compare` does not; "" where there is nothing.

    That is how many of `rows` are people's answers, which it counts as such, and how many files
    show none of the classes, which it leaves out.
    """
    told = []
    if reviewed := sum(row.decision == "reviewed" for row in rows):
        told.append(f"reviewed  {reviewed:,} of {len(rows):,} are people's answers")
    if not all(truth[row.filename] for row in rows):
        told.append(_strangers(rows, truth))
    return "\n".join(told)


def _strangers(rows: Sequence[Row], truth: Mapping[str, Right]) -> str:
    """Say of the photos of none of the ten how many went through as one of them."""
    own = [row for row in rows if not truth[row.filename]]
    accepted = sum(row.decision in ("accept", "reviewed") and _answer(row) >= 0 for row in own)
    return f"photos of none of the ten: {len(own):,}, of which accepted as a class: {accepted:,}"


def _answer(row: Row) -> int:
    return int(row.prediction) if row.prediction else _NO_CLASS


def against(rows: Sequence[Row], others: Sequence[Row], truth: Mapping[str, Right]) -> str:
    """Say whether `rows` are really better than what another model said of the same files.

    Left out, and told of, are files that people reviewed in either table, since there is no model's
    answer to them, and those that show none of the classes, for which no class is right.
    Raises TableError where they are not the same files, or none is left.
    """
    ours, theirs = ({row.filename: _answer(row) for row in table} for table in (rows, others))
    apart = sorted(ours.keys() ^ theirs.keys())
    if apart:
        raise TableError(
            f"{len(apart):,} files are only in one of the two tables, the first is {apart[0]!r}: "
            "compare answers about the same files"
        )
    reviewed = {row.filename for row in (*rows, *others) if row.decision == "reviewed"}
    strangers = {name for name in ours if not truth[name]}
    names = [name for name in ours if name not in reviewed | strangers]
    if not names:
        raise TableError(
            f"none of the {len(ours):,} files is left to compare: people answered for "
            f"{len(reviewed):,} in one of the two tables or the other, and {len(strangers):,} "
            "are of none of the ten; compare tables from before people did"
        )
    first, second, p = mcnemar(
        np.array([ours[name] in truth[name] for name in names]),
        np.array([theirs[name] in truth[name] for name in names]),
    )
    left_out = f"answered by people, left out    {len(reviewed):,}\n" if reviewed else ""
    left_out += f"of none of the ten, left out    {len(strangers):,}\n" if strangers else ""
    return (
        f"{left_out}right where the other is wrong  {first:,}\n"
        f"wrong where the other is right  {second:,}\n"
        f"as uneven by chance             p = {p:.2g} (McNemar's exact test)"
    )


def told(
    rows: Sequence[Row],
    others: Sequence[Row] | None,
    truth: Mapping[str, Right],
    scores: Scores,
    labels: Sequence[str],
) -> Iterator[str]:
    """What is to be said of `rows`, and then `against` what another model said, if anything did.

    Raises TableError.
    """
    yield "\n".join(filter(None, (beside(rows, truth), as_text(scores, labels))))
    if others is not None:
        yield f"\n{against(rows, others, truth)}"


def require_apart(plot: Path, read: Iterable[Path | None]) -> None:
    """Raise ValueError where `plot` leads to one of the files that are `read`."""
    for path in filter(None, read):
        if os.path.exists(plot) and os.path.exists(path) and os.path.samefile(plot, path):
            raise ValueError(
                f"{plot} is {path} itself, which would be written over: "
                "name another place with --plot"
            )


def draw(scores: Scores, labels: Sequence[str], path: Path) -> None:
    """Draw the confusion matrix in `path`, whole or not at all; the ending tells the format.

    A link is followed, and what is there and no file, as /dev/null, is written as it is. Raises
    ValueError.
    """
    form = path.suffix[1:] or "png"
    other = os.path.exists(path) and not path.is_file()
    try:
        with nullcontext(path) if other else made_whole(Path(os.path.realpath(path))) as place:
            plot_confusion(scores.confusion, labels, place, (scores.right, scores.count), form)
    except (OSError, ValueError, RuntimeError) as error:  # for its format, too
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ValueError(
            f"the plot {path} cannot be written: {reason}; name another place with --plot"
        ) from error


def labels_in_names(rows: Sequence[Row], classes: int) -> dict[str, Right]:
    """Read the labels out of names like `image_7_label_3.png`. Raises TableError."""
    found: dict[str, Right] = {}
    for row in rows:
        match = re.search(r"_label_(\d{1,3})\.\w+$", row.filename)
        if match is None or int(match[1]) >= classes:
            raise TableError(
                f"{row.filename!r} does not tell its label: names must end in _label_<0 to "
                f"{classes - 1}> before the extension; or give a CSV of labels with --labels"
            )
        found[row.filename] = (int(match[1]),)
    return found


def truth_of(rows: Sequence[Row], told: Path | None, labels: Sequence[str]) -> dict[str, Right]:
    """What is right for `rows`: what the CSV `told` says, else their names. Raises TableError.

    A label that names no file is of the one whose name is alike, if only one is, and of one label
    alone, as return slips are.
    """
    if told is None:
        return labels_in_names(rows, len(labels))
    truth = read_labels(told, labels)
    names = _one_by_one(truth)
    for likeness, filename in _one_by_one(row.filename for row in rows).items():
        if likeness in names:
            truth[filename] = truth[names[likeness]]
    return truth


def _one_by_one(names: Iterable[str]) -> dict[str, str]:
    """Each name by what it has in common with names that people take for it, where none is so."""
    found: dict[str, str | None] = {}
    for name in names:
        found[alike(name)] = None if alike(name) in found else name
    return {likeness: name for likeness, name in found.items() if name is not None}


def read_labels(path: Path, labels: Sequence[str]) -> dict[str, Right]:
    """Read a CSV of `filename,label`, or of `filename,expected` as the return slips have it.

    A label is a number or one of `labels`, several joined by semicolons, any of which is right, or
    `none of these`. Case and spaces do not count. Of a table of predictions some label must be
    corrected, or all be what people answered. Raises TableError.
    """
    # Once: what comes through a pipe cannot be read again.
    rows = read_table(path, ("filename", "label"), {"label": "expected"}, COLUMNS)
    _require_no_answers(path, [cells for _, cells in rows], labels)
    numbers = numbers_of(labels)
    found: dict[str, Right] = {}
    for line, cells in rows:
        try:
            found[cells["filename"]] = _right(cells["label"], numbers)
        except ValueError as error:
            raise TableError(
                f"{path}, line {line}: {error}: write a number from 0 to {len(labels) - 1}, one of "
                f"{', '.join(labels)}, or {NONE}; several are joined by ;"
            ) from error
    return found


def _require_no_answers(
    path: Path, rows: Sequence[Mapping[str, str]], labels: Sequence[str]
) -> None:
    """Refuse a table whose labels are all a model's own: held against these, all are right."""
    names = {str(number): label for number, label in enumerate(labels)}
    if not rows[0].keys() >= {*COLUMNS}:
        return
    answered = [cells for cells in rows if cells["decision"] in ("accept", "review")]
    own = all(names.get(cells["prediction"]) == cells["label"] for cells in answered)
    # Where all slips say the same, or there is no other label, these are known to be right.
    if answered and own and any(cells["label"] != cells["expected"] for cells in answered):
        raise TableError(
            f"{path} is a table of predictions: its labels are what was answered, not what is "
            "right; correct them, or name a CSV of filename,label"
        )


def _right(label: str, numbers: Mapping[str, int]) -> Right:
    """The classes that a label lists. Raises ValueError."""
    if plain(label) in _NONE_NAMES:
        return ()
    found = []
    for name in label.split(";"):
        if plain(name) in _NONE_NAMES:
            raise ValueError(f"{label!r} is at once a class and none of them")
        if plain(name) not in numbers:
            raise ValueError(f"{name!r} is no class")
        found.append(numbers[plain(name)])
    return tuple(dict.fromkeys(found))
