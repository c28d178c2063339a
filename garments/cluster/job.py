"""One job: every photo of a place through the workers of a Ray cluster, and into one table."""

from __future__ import annotations

import json
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from garments.answering import load_engine
from garments.batch.errors import ReconcileError, UsageError
from garments.batch.findings import scratch
from garments.batch.outputs import require_replaceable
from garments.batch.walk import tell_left_out
from garments.batch.writing import afterwards
from garments.card import CardError, is_due, read_model
from garments.cluster import driver_process
from garments.cluster.parts import SIZE, Part, Parts, cut
from garments.cluster.places import Place, path_of
from garments.cluster.sorter import Work
from garments.cluster.table import Damaged, Table, write
from garments.engine import EngineError
from garments.preprocess import Limits
from garments.settings import Settings
from garments.store import Busy
from garments.store.lock import open_locked

_FORM = 2
"""Of a part; to be raised whenever the same photos and models would give other rows."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Counts:
    """How the job ended; `accept`, `review`, `unreadable` and `left` add up to `found`."""

    found: int
    accept: int
    review: int
    unreadable: int
    left: int
    """Files that are still being written, for the next job."""
    sorted: int
    """Photos that were looked at; the rows of the others were known."""
    seconds: float

    @property
    def amiss(self) -> int:
        """How many photos somebody has to see to."""
        return self.unreadable

    def __str__(self) -> str:
        left = f"{self.left:,} still being written, " if self.left else ""
        return (
            f"{self.found:,} images: {self.accept:,} accepted, {self.review:,} for review, "
            f"{self.unreadable:,} unreadable, {left}{self.sorted:,} of them looked at in "
            f"{self.seconds:.1f} s ({self.found / max(self.seconds, 1e-9):,.0f} images/s)"
        )


def run(
    directory: str, output: str, settings: Settings, *, model: str | None = None, **others: Any
) -> Counts:
    """Classify every image in `directory`, a folder, a glob or an `s3://` URL; write `output`.

    It is what `garments.batch.run` would write of the same photos, and appears whole or not at
    all. A job that died goes on with the parts that are missing, and so does one whose photos
    have changed. `model` names what answers for all photos; `others` are options of the nightly
    client that a job does not have. Raises UsageError, ServiceError, ReconcileError and Busy;
    AfterwardsError where it fails when `output` is written already.
    """
    clock = time.monotonic()
    _refuse(others)
    written = _written(output)
    _require_ray()
    place = Place.of(directory)
    work = _work(place, settings, model)
    made_by = _made_by(work)
    with ExitStack() as held:
        held.enter_context(_alone(written))
        findings = held.enter_context(scratch())
        left: list[bytes] = []
        left_out: Counter[str] = Counter()
        listed = place.listed(left_out)
        findings.add(place.without_unsettled(listed, settings.settle_seconds, left))
        found = len(findings) + len(left)
        if place.pattern and not found:
            raise UsageError(f"{directory} matches no image: look whether the pattern is right")
        logger.info("%s images in %s", f"{found:,}", directory)
        if not found:
            logger.warning(
                "there is no image in %s: if another disk or machine has them, see that it is "
                "mounted; what was sorted before is kept",
                directory,
            )
        tell_left_out(left_out)
        try:
            parts = Parts(_beside(written))
            parts.forget_unfinished()
        except OSError as error:
            raise UsageError(f"{_beside(written)} cannot be used: {error}") from error
        table, looked_at = _made(work, partial(cut, findings, made_by), parts, written)
        with afterwards(output), held.pop_all():  # to let go of these may fail, too
            parts.keep(table.names)
            counts = Counts(
                found=found,
                accept=table.decisions["accept"],
                review=table.decisions["review"],
                unreadable=table.decisions["unreadable"],
                left=len(left),
                sorted=looked_at,
                seconds=time.monotonic() - clock,
            )
            logger.info("%s: %s", path_of(output).rsplit("/", 1)[-1], counts)
    return counts


def _made(
    work: Work, listing: Callable[[], Iterable[Part]], parts: Parts, output: str
) -> tuple[Table, int]:
    """Write `output`; return its table, and how many photos were looked at for it.

    A part that is damaged is made once more. Raises what `run` does.
    """
    looked_at, again = 0, set[str]()
    while True:
        try:
            looked_at += driver_process.sort(work, listing(), parts)
        except OSError as error:
            raise UsageError(f"{_beside(output)} cannot be used: {error}") from error
        table = Table(parts)
        try:
            write(table.rows(listing()), output)
        except Damaged as damage:
            if damage.part in again:
                raise ReconcileError(f"{damage}, though it was made anew") from damage
            logger.warning("%s: it is made anew", damage)
            again.add(damage.part)
            try:
                parts.forget(damage.part)
            except OSError as error:
                raise ReconcileError(f"{damage}; remove it and run the job again") from error
        else:
            return table, looked_at


def _require_ray() -> None:
    """Refuse now what the process that has Ray could not do. Raises UsageError."""
    for name in ("ray", "pyarrow"):
        if find_spec(name) is None:
            raise UsageError(f"--engine ray needs {name}: make cluster")


def _refuse(others: dict[str, Any]) -> None:
    given = [f"--{name}" for name, value in others.items() if value]
    if given:
        raise UsageError(
            f"{', '.join(given)} cannot be had with --engine ray: it needs no service and keeps "
            "no database; leave it out, or run without --engine"
        )


def _written(output: str) -> str:
    """What is written for `output`: where that is a link, the file behind it.

    Refuses now what a whole job's work could not be written to. Raises UsageError.
    """
    if not path_of(output).endswith((".csv", ".parquet")):
        raise UsageError(f"{output} must end in .csv or .parquet: choose another --output")
    if output.startswith("s3://"):
        return output
    place = require_replaceable(Path(output).absolute())
    if place.suffix != Path(output).suffix:
        raise UsageError(f"{output} is a link to {place}, which is no such file: choose another")
    return str(place)


def _beside(output: str) -> str:
    """Where the parts of an output are."""
    path = path_of(output)
    return f"{path}.parts{output[len(path) :]}"


@contextmanager
def _alone(output: str) -> Iterator[None]:
    """Keep other jobs on this machine off an output that is a file. Raises Busy and UsageError."""
    if output.startswith("s3://"):
        yield
        return
    lock = f"{_beside(output)}/lock"
    try:
        os.makedirs(_beside(output), exist_ok=True)
        file = open_locked(lock, holder=str(os.getpid()))
    except Busy as busy:
        raise Busy(f"another job writes {output}: process {busy}") from None
    except OSError as error:
        raise UsageError(
            f"{error.filename or lock} cannot be used: {error.strerror}; a job run by another user "
            "may have made it: hand it over, or choose another --output"
        ) from error
    with file:
        yield


def _work(place: Place, settings: Settings, model: str | None) -> Work:
    """What the workers need: the models that the service would answer with. Raises UsageError."""
    small = model or settings.model
    photo = settings.photo_model
    if model or not is_due(settings.model_dir / photo, Settings.photo_model):
        photo = small  # the only one there is
    try:
        models = {name: read_model(settings.model_dir / name) for name in (small, photo)}
        for name, found in models.items():
            load_engine(settings.model_dir / name, found)
    except (CardError, EngineError) as error:
        raise UsageError(str(error)) from error
    limits = Limits(settings.max_pixels, settings.max_frames, settings.max_scans)
    return Work(
        place=place,
        models=models,
        small=small,
        photo=photo,
        limits=limits,
        max_bytes=settings.max_request_bytes,
        batch_bytes=settings.batch_bytes,
    )


def _made_by(work: Work) -> str:
    """All that decides about a row beside the photo itself."""
    models = sorted(
        [card.identity, card.accept_threshold, card.labels, card.preprocessing]
        for card, _ in work.models.values()
    )
    place = [work.place.root, work.place.pattern]
    return json.dumps(
        [_FORM, place, work.small, work.photo, models, vars(work.limits), work.max_bytes, SIZE]
    )
