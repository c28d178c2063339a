"""The page `/runs`: how the nights went, and what people's answers say of the models."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response, render_template, request

from garments import evidence
from garments.web.models import Models
from garments.web.pages.plots import HEIGHT, WIDTH, Plot
from garments.web.pages.records import Records
from garments.web.problems import Refusal

if TYPE_CHECKING:
    from garments.store.reviews import Review

_NIGHTS = 90
_PLACES = 90  # folders that can be chosen, those of the last nights
_REVIEWS = 20_000  # the last ones that are counted
_MODELS = 3  # that are told of
_LEAST_PHOTOS = 50  # new ones; fewer tell too little of a night, as in the morning's report
_TARGETS = (0.01, 0.03)  # shares of wrong answers that the two models' cards allow
# What the report is: one file with its own style, and nothing that runs.
_REPORT_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'none'; sandbox"
)

Run = Mapping[str, Any]


def add_to(pages: Blueprint, records: Records, models: Models) -> None:
    """Add the page to `pages`, and the report of each night."""

    @pages.get("/runs")
    def runs() -> str:
        with records.opened() as desk:
            nights = desk.nights.last(_NIGHTS) if desk else []
            reviews = desk.reviews.recent(_REVIEWS) if desk else []
            directories = desk.nights.directories(_PLACES) if desk else []
            places = {_key(place): place for place in sorted(directories)}
            place = places.get(request.args.get("of", ""), directories[0] if directories else b"")
            # Its own last nights, however many there were of other folders since.
            shown = desk.nights.last(_NIGHTS, place) if desk else []
        labels = models.labels()
        ended = [run for run in shown if run["ended"]]
        return render_template(
            "runs.html",
            nights=shown[::-1],
            places=[(key, one == place, _text(one)) for key, one in places.items()],
            place=_text(place),
            plots=_plots(ended),
            mix=_mix(ended, labels),
            least=_LEAST_PHOTOS,
            models=_of_models(reviews, [run for run in nights if run["ended"]], models),
            labels=[*labels, "None of these"],
            width=WIDTH,
            height=HEIGHT,
            share=_share,
            percent=_percent,
            mean=_confidence,
        )

    @pages.get("/runs/<int:run>/report")
    def report(run: int) -> Response:
        with records.required() as desk:
            page = desk.nights.report(run) if run < 2**31 else None
        if page is None:
            detail = "the report of this night is not kept: it is too old, too large, or was never"
            raise Refusal("not_found", f"{detail} written")
        response = Response(page, content_type="text/html; charset=utf-8")
        response.headers["Content-Security-Policy"] = _REPORT_POLICY
        return response


def _key(directory: bytes) -> str:
    """What an address calls a folder: always the same, whatever other folders come and go."""
    return hashlib.sha256(directory).hexdigest()[:12]


def _text(directory: bytes) -> str:
    return directory.decode(errors="replace")


@dataclass(frozen=True)
class _Overall:
    """How right all answers of some nights were."""

    share: float
    low: float
    high: float
    beside: list[str]
    """The other models that answered in these nights."""


@dataclass(frozen=True)
class _Model:
    """What people's answers say of one model."""

    name: str
    accepts_from: float | None
    """The threshold on its card, where it is served here."""
    doubtful: evidence.Rate
    strangers: int
    """How many doubtful photos beside these were found to be none of the classes."""
    wrong: evidence.Rate
    sample: evidence.Rate
    overall: _Overall | None
    by_class: list[evidence.Rate]
    by_week: Plot
    weeks: list[tuple[str, evidence.Rate]]
    thresholds: list[evidence.Threshold]


def _of_models(reviews: Sequence[Review], nights: Sequence[Run], models: Models) -> list[_Model]:
    """The models that were looked at last, the latest first."""
    names = list(dict.fromkeys(review.model for review in reversed(reviews)))[:_MODELS]
    cards = {engine.card.identity: engine.card for engine in models.engines}
    classes = len(models.labels())
    told = []
    for name in names:
        own = [review for review in reviews if review.model == name]
        doubtful = [review for review in own if review.kind == "doubtful"]
        # How many were of the sample, or contradict a slip, differs from week to week.
        weeks = [(day.isoformat(), rate) for day, rate in evidence.by_week(doubtful)]
        shares = [rate.share for _, rate in weeks]
        days = [day for day, _ in weeks]
        told.append(
            _Model(
                name,
                accepts_from=cards[name].accept_threshold if name in cards else None,
                doubtful=evidence.rate(doubtful),
                strangers=sum(map(evidence.is_stranger, own)),
                wrong=_rate(own, "wrong"),
                sample=_rate(own, "sample"),
                overall=_overall(name, reviews, nights),
                by_class=evidence.by_class(own, classes),
                by_week=Plot("Right of the doubtful, by week", shares, days, _percent, 1),
                weeks=weeks,
                thresholds=[evidence.threshold(own, target) for target in _TARGETS],
            )
        )
    return told


def _rate(reviews: Sequence[Review], kind: str) -> evidence.Rate:
    return evidence.rate(one for one in reviews if one.kind == kind)


def _overall(name: str, reviews: Sequence[Review], nights: Sequence[Run]) -> _Overall | None:
    """How right a model was in its own nights; None where they do not tell.

    Where the service chose among several models the night counted what all of them accepted, so
    that it weighs what people said of any of them, and tells how right they were together. A night
    in which the model answered alone tells more of it.
    """
    choices = [run["model"] or "" for run in reversed(nights)]
    for choice in dict.fromkeys([name, *choices]):
        models = choice.split("+")
        if name not in models:
            continue
        judged = [one for one in reviews if one.model in models]
        found = evidence.overall(
            _rate(judged, "doubtful"),
            _rate(judged, "sample"),
            _accepted([run for run in nights if run["model"] == choice]),
        )
        if found:
            return _Overall(*found, beside=[one for one in models if one != name])
    return None


def _accepted(nights: Sequence[Run]) -> float | None:
    """The share of answers that was accepted, whatever people said since; None of nothing.

    A night that did not count this tells of it where nobody had answered for its photos.
    """
    accepts = answers = 0
    for run in nights:
        if run["model_answers"] is not None:
            accepts += run["model_accepts"]
            answers += run["model_answers"]
        elif not run["reviewed"]:
            accepts += run["accept"] or 0
            answers += (run["accept"] or 0) + (run["review"] or 0)
    return accepts / answers if answers else None


def _plots(nights: Sequence[Run]) -> list[Plot]:
    days = [_day(run) for run in nights]

    def plot(title: str, values: list[float | None], told: Any, most: float | None = None) -> Plot:
        return Plot(title, values, days, told, most)

    return [
        plot("Photos", [run["found"] for run in nights], _count),
        plot("Accepted", [_share(run, "accept") for run in nights], _percent, 1),
        plot("For review", [_share(run, "review") for run in nights], _percent, 1),
        plot("Unreadable", [run["unreadable"] for run in nights], _count),
        plot("Mean confidence of the new", [_of_many(run) for run in nights], _percent, 1),
        plot("Possible wrong items", [run["mismatched"] for run in nights], _count),
    ]


def _mix(nights: Sequence[Run], labels: Sequence[str]) -> list[Plot]:
    """The share of each class of the photos that were new, all on one scale.

    In a night of one new photo one class would have all, and flatten every other night's.
    """
    days = [_day(run) for run in nights]
    shares = [_shares(run["classes"], len(labels)) for run in nights]
    most = max((share for night in shares for share in night or ()), default=1.0)
    return [
        Plot(label, [night[place] if night else None for night in shares], days, _percent, most)
        for place, label in enumerate(labels)
    ]


def _shares(counts: Sequence[int] | None, classes: int) -> list[float] | None:
    if not counts or len(counts) != classes or sum(counts) < _LEAST_PHOTOS:
        return None
    return [count / sum(counts) for count in counts]


def _share(run: Run, column: str) -> float | None:
    return run[column] / run["found"] if run["found"] and run[column] is not None else None


def _confidence(run: Run) -> float | None:
    """The mean of the new photos; of nights from before it was kept, as near as can be told."""
    if run["confidence"] is not None:
        return float(run["confidence"])
    bins = run["confidences"]
    if not bins or not sum(bins):
        return None
    middles = sum(count * (place + 0.5) / len(bins) for place, count in enumerate(bins))
    return float(middles / sum(bins))


def _of_many(run: Run) -> float | None:
    """The same, where it is of enough photos to tell something of the night."""
    return _confidence(run) if sum(run["confidences"] or ()) >= _LEAST_PHOTOS else None


def _day(run: Run) -> str:
    return str(run["started"].astimezone().date())


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _percent(share: float | None) -> str:
    return "–" if share is None or math.isnan(share) else f"{100 * share:.1f}\u00a0%"
