"""One night: every image of a directory through the service and into `predictions.csv`."""

from __future__ import annotations

import heapq
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import islice
from pathlib import Path

from garments.batch import archive as archives
from garments.batch import canary
from garments.batch.carried import Carried
from garments.batch.client import Client
from garments.batch.errors import UsageError
from garments.batch.findings import Findings, paired, scratch
from garments.batch.morning import write_report
from garments.batch.outputs import check_archive, check_output, outside
from garments.batch.posting import Poster
from garments.batch.replaced import archived_rows, tell_replaced
from garments.batch.slips import read_slips
from garments.batch.state import Night
from garments.batch.table import Table
from garments.batch.walk import any_name, tell_left_out, walk
from garments.batch.writing import afterwards, write_table
from garments.card import Card, CardError, read_card
from garments.predictions import Row
from garments.routing import together
from garments.settings import Settings
from garments.store import Database, Store
from garments.store.archived import Archived

_SLIPS_AT_ONCE = 1_000

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Counts:
    """How the night ended.

    `accept`, `review`, `reviewed`, `unreadable` and `left` add up to `found`.
    """

    found: int
    accept: int
    review: int
    reviewed: int
    """Those that a person has answered for."""
    unreadable: int
    left: int
    """Files that are still being written, for the next night."""
    posted: int
    """Photos that were sent; the answers for the others were known."""
    mismatched: int
    """Accepted and reviewed ones that are not what the return slip says."""
    archived: int
    carried: int
    """Rows beside these, of photos that a night archived before it was cut short."""
    stuck: int
    """Classified ones that could not be archived."""
    seconds: float

    @property
    def amiss(self) -> int:
        """How many photos somebody has to see to."""
        return self.unreadable + self.stuck

    def __str__(self) -> str:
        parts = [
            f"{self.found:,} images: {self.accept:,} accepted",
            f"{self.review:,} for review",
            *([f"{self.reviewed:,} reviewed"] if self.reviewed else []),
            f"{self.unreadable:,} unreadable",
            *([f"{self.left:,} still being written"] if self.left else []),
            f"{self.posted:,} of them sent",
            *([f"{self.mismatched:,} possible wrong items"] if self.mismatched else []),
            *([f"{self.archived:,} archived"] if self.archived else []),
            *([f"{self.carried:,} more of a night cut short"] if self.carried else []),
            *([f"{self.stuck:,} could not be archived"] if self.stuck else []),
            f"in {self.seconds:.1f} s",
        ]
        # Of those that were sent, as in the report: others cost next to no time.
        speed = f" ({self.posted / max(self.seconds, 1e-9):,.0f} images/s)" if self.posted else ""
        return ", ".join(parts) + speed


def run(
    directory: Path | str,
    output: Path | str,
    settings: Settings,
    *,
    expected: Path | None = None,
    archive: Path | None = None,
    fresh: bool = False,
    model: str | None = None,
) -> Counts:
    """Classify every image in `directory` and its subfolders; write `output` and `report.html`.

    `output` appears whole, with a row for every image, or stays as it was; where it is a link, both
    files go where that leads. Photos whose answer is known from an earlier night are not sent
    again, unless the night is to be `fresh`. `expected` names a CSV of return slips, `archive` a
    folder that classified photos are moved to when all is written, `model` what answers for all
    photos, where the service would choose. Raises UsageError, ServiceError, ReconcileError,
    StoreError, and Busy while another night is running; AfterwardsError where it fails when
    `output` is written already.
    """
    started, clock = datetime.now().astimezone(), time.monotonic()
    directory, store = Path(directory), Store(settings.database_url)
    # Found out once: a link to the photos may lead elsewhere before they are read.
    place = os.fsencode(os.path.realpath(directory))
    needed = [*store.files, *([expected] if expected else [])]
    output = check_output(Path(output).absolute(), needed)
    enters = outside(check_archive(directory, archive), place) if archive else any_name
    card = _card(settings, model or settings.model)
    with ExitStack() as held:
        held.enter_context(store.locked())
        held.enter_context(closing(store))
        findings = held.enter_context(scratch())
        if expected:
            read_slips(expected, card.labels, findings)
        _find(place, directory, enters, findings)
        findings.match_slips()
        missing, first = findings.slips_without_photo()
        if missing:
            logger.info(
                "%s return slips name no photo that is there, the first %r",
                f"{missing:,}",
                os.fsdecode(first),
            )
        store.open()
        night = _post_all(place, findings, store, card, settings, fresh, model, archive)
        table = Table(card.labels, night)
        rows, carried = table.rows(findings), Carried(card.labels, night)
        if night.unended:
            rows = heapq.merge(rows, carried.rows(findings), key=_name)
        replaced = archived_rows(output, night, started)
        store.check_lock()
        write_table(rows, output)
        with afterwards(output), held.pop_all():  # to let go of these may fail, too
            tell_replaced(output, replaced)
            seconds = time.monotonic() - clock
            write_report(output, table, findings, carried.count, started, seconds)
            archived, stuck = _archive(night, findings, archive) if archive else (0, 0)
            counts = Counts(
                found=len(findings),
                accept=table.decisions["accept"],
                review=table.decisions["review"],
                reviewed=table.decisions["reviewed"],
                unreadable=table.decisions["unreadable"],
                left=len(night.left),
                posted=night.posted,
                mismatched=table.mismatched.count,
                archived=archived,
                carried=carried.count,
                stuck=stuck,
                seconds=time.monotonic() - clock,
            )
            if archive:
                # Where all are gone, their disk may be, and the archive have others of their names.
                all_gone = not len(findings)
                findings.part_with(_archived(night, archive, by_content=all_gone))
            if night.unended and len(findings):  # where all are gone, their disk may be
                findings.part_with(carried.gone(findings))
            _note_end(night, table, counts, findings.parted())
            logger.info("%s: %s", output.name, counts)
    return counts


def _find(
    place: bytes, directory: Path, enters: Callable[[bytes], bool], findings: Findings
) -> None:
    """Fill `findings`, and tell what else is at the place that is called `directory`."""
    others: Counter[str] = Counter()
    findings.add(walk(place, others, enters=enters))
    logger.info("%s images in %s", f"{len(findings):,}", directory)
    tell_left_out(others)


def _post_all(
    place: bytes,
    findings: Findings,
    store: Store,
    card: Card,
    settings: Settings,
    fresh: bool,
    forced: str | None,
    archive: Path | None,
) -> Night:
    """Have an answer for every photo, and the slips, in the store."""
    with closing(Client(settings, forced)) as client:
        served, cards = client.wait_until_ready(), [card]
        by_size = forced is None and settings.photo_model != card.name
        if by_size and canary.has_photo_model(served, settings):
            cards.append(_card(settings, settings.photo_model))
        model = together(canary.ask_each(client, cards, settings))
        run = store.runs.begin(place, model)
        ended = store.runs.last_ended(run, place)
        found_any = store.runs.last_ended(run, place, found=1)
        night = Night(
            store=store,
            settings=settings,
            directory=place,
            run=run,
            model=model,
            fresh=fresh,
            new_after=ended,
            moved=store.runs.archiving(found_any, run, place),
            unended=store.runs.archiving(ended + 1, run, place),
        )
        if store.runs.archiving(found_any + 1, run, place, cut_short=True):
            _forget_succeeded(night, findings)
        Poster(night, client).post(findings)
    slips = findings.slips()
    while some := list(islice(slips, _SLIPS_AT_ONCE)):
        store.expect(run, place, some)
    return night


def _note_end(night: Night, table: Table, counts: Counts, gone: Iterable[bytes]) -> None:
    """Note how it went, and forget the photos that are `gone`, whose names may come again.

    Both or neither: a night that does not end leaves their rows to the next.
    """
    columns = {
        "found": counts.found,
        "accept": counts.accept,
        "review": counts.review,
        "reviewed": counts.reviewed,
        "unreadable": counts.unreadable,
        "left": counts.left,
        "posted": counts.posted,
        "mismatched": counts.mismatched,
        "seconds": counts.seconds,
        "classes": table.new.classes,
        "confidences": table.new.confidences,
        "confidence": table.new.confidence,
        "model_answers": sum(table.all.classes),
        "model_accepts": table.model_accepts,
    }
    night.store.runs.finish(night.run, night.model, columns, gone)


def _archive(night: Night, findings: Findings, folder: Path) -> tuple[int, int]:
    to = os.fsencode(os.path.realpath(folder))
    night.store.check_lock()
    known = paired(findings, night.store.classified(night.directory, night.model))
    # Only what the table names: others may be known too, and be as they were by now.
    photos = (one for name, found, one in known if found and one and name not in night.left)
    with closing(Database(night.settings.database_url, durable=True)) as database:
        queue = Archived(database, to)
        queue.begin(night.run, night.model)
        queue.drop_answered()
        follow = partial(queue.follow, night.directory)
        return archives.archive(night.directory, to, photos, follow)


def _archived(night: Night, folder: Path, *, by_content: bool) -> Iterator[bytes]:
    """What the archive has: another photo may come under its name, and has another slip."""
    to = os.fsencode(os.path.realpath(folder))
    for photo in night.store.classified(night.directory):
        if archives.is_moved(night.directory, to, photo, by_content=by_content):
            yield photo.name


def _forget_succeeded(night: Night, findings: Findings) -> None:
    """Forget what a night may have archived before it was cut short, where others have its names.

    Its archive may be another than tonight's, so what only changed is forgotten with its slip too:
    to give that again is better than to hold another photo against it.
    """
    known = paired(findings, night.store.classified(night.directory))
    here = (one for _, found, one in known if found and one and found.stamp[:2] != one.stamp[:2])
    others = (one.name for one in here if not archives.is_same(night.directory, one))
    night.store.forget(night.directory, others)


def _name(row: Row) -> bytes:
    """What rows are sorted by."""
    return os.fsencode(row.filename)


def _card(settings: Settings, name: str) -> Card:
    try:
        return read_card(settings.model_dir / name)
    except CardError as error:
        raise UsageError(
            f"the service cannot be tested without its model's card: {error}"
        ) from error
