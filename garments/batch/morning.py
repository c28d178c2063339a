"""The morning report of a night: its numbers and its lists, drawn from the store."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from itertools import islice
from pathlib import Path

from garments.batch import photo
from garments.batch.posting import Night
from garments.batch.table import Least, Table
from garments.batch.walk import Findings, stamp_of
from garments.morning import page
from garments.predictions import cell_of, replacing

NIGHTS = 30  # that a night is held against
_PREVIEWS_AT_ONCE = 25


def write_report(
    path: Path, table: Table, findings: Findings, started: datetime, seconds: float
) -> None:
    """Write the page; `path` then holds all of it, or what it held before.

    Raises OSError and StoreError.
    """
    night = table.night
    earlier = (
        page.Tally(_day(run["started"]), tuple(run["classes"]), tuple(run["confidences"]))
        for run in night.store.earlier(night.run, night.directory, NIGHTS)
    )
    told = page.Night(
        started=started,
        seconds=seconds,
        directory=os.fsdecode(night.directory),
        model=night.model,
        labels=tuple(table.labels),
        found=len(findings),
        accepted=table.decisions["accept"],
        review=table.decisions["review"],
        unreadable=table.decisions["unreadable"],
        left=len(night.left),
        posted=night.posted,
        mismatched=table.mismatched.count,
        slips_without_photo=findings.slips_without_photo(),
        classes=tuple(table.all.classes),
        confidences=tuple(table.all.confidences),
        tally=page.Tally(_day(started), tuple(table.new.classes), tuple(table.new.confidences)),
        earlier=tuple(earlier),
    )
    review, unreadable, mismatched = (
        _photos(night, few, table.labels)
        for few in (table.review, table.unreadable, table.mismatched)
    )
    pieces = page.render(told, review, unreadable, mismatched)
    with replacing(path) as file:
        file.writelines(pieces)


def _day(moment: datetime) -> str:
    """The date where this runs; SQLite tells no time zone, and means UTC."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
    return aware.astimezone().date().isoformat()


def _photos(night: Night, few: Least, labels: Sequence[str]) -> Iterator[page.Photo]:
    outcomes = iter(few)
    # Some at a time: previews of all would be much to hold.
    while some := list(islice(outcomes, _PREVIEWS_AT_ONCE)):
        names = [outcome.name for outcome in some]
        previews = night.store.previews(night.directory, names, night.model)
        for outcome in some:
            top, thumbnail = previews.get(outcome.name, ([], None))
            yield page.Photo(
                filename=cell_of(os.fsdecode(outcome.name)),
                label=outcome.label or "",
                confidence=outcome.confidence,
                expected="" if outcome.expected is None else labels[outcome.expected],
                problem=outcome.problem or "",
                top=tuple((label, confidence) for label, confidence in top),
                thumbnail=(
                    thumbnail if outcome.decision != "accept" else _drawn(night, outcome.name)
                ),
            )


def _drawn(night: Night, name: bytes) -> bytes | None:
    """A thumbnail of a photo that was not kept in little, since it needs no review."""
    path = os.path.join(night.directory, name)
    try:
        status = os.lstat(path)
        return photo.thumbnail(photo.read(path, stamp_of(status), settle_seconds=0))
    except (OSError, photo.StillWritten):
        return None
