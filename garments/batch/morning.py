"""The morning report of a night: its numbers and its lists, drawn from the store."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path

from garments.batch import photo
from garments.batch.findings import Findings
from garments.batch.review_order import rank_of_wrong
from garments.batch.state import Night
from garments.batch.table import Least, Table
from garments.batch.walk import stamp_of
from garments.cells import cell_of
from garments.in_place import replacing
from garments.morning import page
from garments.morning.drift import LEAST_PHOTOS
from garments.store import Outcome
from garments.store.nights import Packer
from garments.thumbnail import thumbnail

REPORT = "report.html"
NIGHTS = 30  # that a night is held against
_PREVIEWS_AT_ONCE = 25


def write_report(
    output: Path, table: Table, findings: Findings, carried: int, started: datetime, seconds: float
) -> None:
    """Write the page beside the table `output`: all of it, or what was there stays.

    `carried` rows of it are of an earlier night. Raises OSError and StoreError.
    """
    night = table.night
    earlier = (
        page.Tally(
            _day(run["started"]), tuple(run["classes"]), tuple(run["confidences"]), run["model"]
        )
        for run in night.store.runs.earlier(night.run, night.directory, NIGHTS, LEAST_PHOTOS)
    )
    told = page.Summary(
        started=started,
        seconds=seconds,
        directory=os.fsdecode(night.directory),
        table=cell_of(output.name),
        model=night.model,
        labels=tuple(table.labels),
        found=len(findings),
        accepted=table.decisions["accept"],
        review=table.decisions["review"],
        reviewed=table.decisions["reviewed"],
        unreadable=table.decisions["unreadable"],
        unreadable_new=table.unreadable_new,
        left=len(night.left),
        vanished=night.vanished,
        posted=night.posted,
        mismatched=table.mismatched.count,
        carried=carried,
        slips_without_photo=findings.slips_without_photo()[0],
        classes=tuple(table.classes),
        none=table.none,
        none_likelier=table.none_likelier,
        confidences=tuple(table.all.confidences),
        tally=page.Tally(_day(started), tuple(table.new.classes), tuple(table.new.confidences)),
        earlier=tuple(earlier),
    )
    _draw(night, table.undrawn)
    review, unreadable, mismatched = (
        _photos(table, few) for few in (table.review, table.unreadable, table.mismatched)
    )
    pieces = page.render(told, review, unreadable, mismatched)
    kept = Packer()
    with replacing(output.with_name(REPORT)) as file:
        for piece in pieces:
            file.write(piece)
            kept.add(piece)
    if (packed := kept.packed()) is not None:
        night.store.runs.keep_report(night.run, packed)


def _day(moment: datetime) -> str:
    """The date where this runs."""
    return moment.astimezone().date().isoformat()


def _photos(table: Table, few: Least) -> Iterator[page.Photo]:
    night = table.night
    for some in _some(few):
        names = [outcome.name for outcome in some]
        previews = night.store.previews(night.directory, names, night.model)
        for outcome in some:
            top, small = previews.get(outcome.name, ([], None))
            yield page.Photo(
                filename=cell_of(os.fsdecode(outcome.name)),
                label=table.named(outcome.answer) if outcome.reviewed else outcome.label or "",
                confidence=None if outcome.reviewed else outcome.confidence,
                expected=table.labels[outcome.expected] if outcome.expected is not None else "",
                problem=outcome.problem or "",
                top=tuple((label, confidence) for label, confidence in top),
                thumbnail=small,
            )


def _some(few: Least) -> Iterator[Sequence[Outcome]]:
    """Some at a time: the pictures of all would be much to hold."""
    outcomes = iter(few)
    while some := list(islice(outcomes, _PREVIEWS_AT_ONCE)):
        yield some


def _draw(night: Night, few: Least) -> None:
    """Keep photos in little that were not, and let them wait for people, who can see them now."""
    for outcomes in _some(few):
        drawn: dict[bytes, bytes] = {}
        for outcome in outcomes:
            path = os.path.join(night.directory, outcome.name)
            try:
                content = photo.read(path, stamp_of(os.lstat(path)), settle_seconds=0)
            except (OSError, photo.StillWritten):
                continue
            digest = hashlib.sha256(content).digest()
            if digest == outcome.digest and (small := thumbnail(content)):
                drawn[digest] = small
        if drawn:
            night.store.draw(night.model, drawn)
            ranks = [
                (outcome.name, rank_of_wrong(outcome.confidence or 0.0))
                for outcome in outcomes
                if outcome.digest in drawn
            ]
            night.store.wait(night.directory, ranks)
