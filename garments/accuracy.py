"""Hold `predictions.csv` against labels that are known."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from garments.predictions import Row, TableError, read_table
from garments.report import Scores, mcnemar, score


def compare(rows: Sequence[Row], truth: Mapping[str, int], classes: int) -> Scores:
    """Score `rows` against the true class of each filename; an unreadable one is wrong.

    Raises TableError where a row's label is not known.
    """
    unknown = [row.filename for row in rows if row.filename not in truth]
    if unknown:
        raise TableError(
            f"{len(unknown):,} of {len(rows):,} files have no label, the first is {unknown[0]!r}: "
            "add them to the file of labels"
        )
    return score(
        np.array([truth[row.filename] for row in rows]),
        np.array([int(row.prediction) if row.prediction else -1 for row in rows]),
        np.array([row.decision == "accept" for row in rows]),
        classes,
    )


def people(rows: Sequence[Row]) -> str:
    """Say how many of `rows` are people's answers, which `compare` counts as such; "" for none."""
    reviewed = sum(row.decision == "reviewed" for row in rows)
    return f"reviewed  {reviewed:,} of {len(rows):,} are people's answers" if reviewed else ""


def against(rows: Sequence[Row], others: Sequence[Row], truth: Mapping[str, int]) -> str:
    """Say whether `rows` are really better than what another model said of the same files.

    What people reviewed in either table is left out, and told of: there is no model's answer to it.
    Raises TableError where they are not the same files, or none is left.
    """
    ours, theirs = ({row.filename: row.prediction for row in table} for table in (rows, others))
    apart = sorted(ours.keys() ^ theirs.keys())
    if apart:
        raise TableError(
            f"{len(apart):,} files are only in one of the two tables, the first is {apart[0]!r}: "
            "compare answers about the same files"
        )
    reviewed = {row.filename for row in (*rows, *others) if row.decision == "reviewed"}
    names = [name for name in ours if name not in reviewed]
    if not names:
        raise TableError(
            f"people answered for all {len(ours):,} files in one of the two tables or the other: "
            "compare tables from before they did"
        )
    first, second, p = mcnemar(
        np.array([ours[name] == str(truth[name]) for name in names]),
        np.array([theirs[name] == str(truth[name]) for name in names]),
    )
    left_out = f"answered by people, left out    {len(reviewed):,}\n" if reviewed else ""
    return (
        f"{left_out}right where the other is wrong  {first:,}\n"
        f"wrong where the other is right  {second:,}\n"
        f"as uneven by chance             p = {p:.2g} (McNemar's exact test)"
    )


def labels_in_names(rows: Sequence[Row], classes: int) -> dict[str, int]:
    """Read the labels out of names like `image_7_label_3.png`. Raises TableError."""
    found: dict[str, int] = {}
    for row in rows:
        match = re.search(r"_label_(\d{1,3})\.\w+$", row.filename)
        if match is None or int(match[1]) >= classes:
            raise TableError(
                f"{row.filename!r} does not tell its label: names must end in _label_<0 to "
                f"{classes - 1}> before the extension; or give a CSV of labels with --labels"
            )
        found[row.filename] = int(match[1])
    return found


def read_labels(path: Path, labels: Sequence[str]) -> dict[str, int]:
    """Read a CSV of `filename,label`, each label a number or a name. Raises TableError."""
    numbers = {label.casefold(): number for number, label in enumerate(labels)}
    numbers |= {str(number): number for number in range(len(labels))}
    found: dict[str, int] = {}
    for line, cells in read_table(path, ("filename", "label")):
        number = numbers.get(cells["label"].strip().casefold())
        if number is None:
            raise TableError(
                f"{path}, line {line}: {cells['label']!r} is no class: write a number from 0 to "
                f"{len(labels) - 1}, or one of {', '.join(labels)}"
            )
        found[cells["filename"]] = number
    return found
