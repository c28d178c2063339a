import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from garments import evidence
from garments.bounds import Accepted, accepted_downwards, accepted_from
from garments.evidence import Rate
from garments.store.reviews import Review
from garments.web.pages import runs

MONDAY = datetime(2026, 11, 23, 8, tzinfo=timezone.utc)


@dataclass
class Judged:
    prediction: int
    answer: int | None
    confidence: float = 0.5
    kind: str = "doubtful"
    at: datetime = MONDAY


@given(count=st.integers(1, 3000), data=st.data())
def test_an_interval_is_wilsons(count: int, data: st.DataObject) -> None:
    right = data.draw(st.integers(0, count))
    known = binomtest(right, count).proportion_ci(method="wilson")
    assert Rate(right, count).interval == pytest.approx((known.low, known.high), abs=1e-6)


def test_of_nothing_nothing_is_known() -> None:
    assert math.isnan(evidence.rate([]).share)
    assert evidence.rate([]).interval == (0, 1)


def test_the_rate_by_class_is_by_what_it_really_was() -> None:
    judged = [Judged(0, 0), Judged(1, 0), Judged(1, 1), Judged(1, None, kind="sample")]
    rates = evidence.by_class(judged, 2)
    assert [(one.right, one.count) for one in rates] == [(1, 2), (1, 1), (0, 1)]


def test_what_is_none_of_the_classes_is_a_mistake_only_where_it_was_accepted() -> None:
    judged = [Judged(0, 0), Judged(1, 0), *[Judged(1, None)] * 18]
    assert evidence.rate(judged) == Rate(1, 2)
    assert evidence.by_class(judged, 2)[-1] == Rate(0, 0)
    assert [found for _, found in evidence.by_week(judged)] == [Rate(1, 2)]
    assert evidence.by_week(judged[2:]) == []
    assert evidence.rate([*judged, Judged(1, None, kind="sample")]) == Rate(1, 3)


def test_a_week_begins_on_the_monday_of_the_place(time_zone: Callable[[str], None]) -> None:
    early = Judged(0, 0, at=datetime(2026, 11, 22, 21, 30, tzinfo=timezone.utc))
    for zone, monday in (("AEST-10", 23), ("EST5", 16)):
        time_zone(zone)
        assert [day for day, _ in evidence.by_week([early])] == [date(2026, 11, monday)]


def test_the_rate_by_week_leaves_out_weeks_without_answers(
    time_zone: Callable[[str], None],
) -> None:
    time_zone("UTC")
    judged = [Judged(0, 0), Judged(0, 1, at=MONDAY + timedelta(days=6, hours=15))]
    judged.append(Judged(0, 0, at=MONDAY + timedelta(days=21)))
    weeks = evidence.by_week(judged)
    assert [(day, one.count) for day, one in weeks] == [
        (date(2026, 11, 23), 2),
        (date(2026, 12, 14), 1),
    ]


@pytest.mark.parametrize(("count", "enough"), [(298, False), (299, True)])
def test_a_threshold_needs_enough_answers(count: int, enough: bool) -> None:
    found = evidence.threshold([Judged(0, 0)] * count, 0.01)
    assert (found.confidence is not None) is enough


def test_a_threshold_is_the_lowest_from_which_few_enough_are_wrong() -> None:
    random = np.random.default_rng(0)
    confidences = random.uniform(0, 1, 20_000)
    wrong = random.uniform(0, 1, 20_000) > 0.5 + confidences / 2  # from 0.88 on, 3 %
    judged = [Judged(0, int(w), c) for w, c in zip(wrong, confidences, strict=True)]
    found = evidence.threshold(judged, 0.03)
    assert found.confidence == pytest.approx(0.9, abs=0.02)
    above = [one for one in judged if found.confidence and one.confidence >= found.confidence]
    assert (found.count, found.wrong) == (len(above), sum(one.answer != 0 for one in above))
    upper = binomtest(found.wrong, found.count, alternative="less").proportion_ci(0.95).high
    assert upper <= 0.03


@pytest.mark.parametrize("share", [0.0105, 0.031, 0.036])
def test_a_threshold_keeps_its_promise_nineteen_times_of_twenty(share: float) -> None:
    """Where a few more than may be are wrong, whatever the confidence, none should be told."""
    random = np.random.default_rng(0)
    told = 0
    for _ in range(200):
        confidences = random.uniform(0, 1, 2_000).tolist()
        wrong = (random.uniform(0, 1, 2_000) < share).tolist()
        judged = [Judged(0, int(w), c) for w, c in zip(wrong, confidences, strict=True)]
        found = evidence.threshold(judged, 0.01 if share < 0.03 else 0.03)
        told += found.confidence is not None
    assert told <= 0.05 * 200


def test_one_wrong_answer_among_the_surest_does_not_end_it() -> None:
    judged = [Judged(0, int(place == 10), place / 2_000) for place in range(2_000, 0, -1)]
    judged.append(Judged(0, 1, 1.0))
    found = evidence.threshold(judged, 0.01)
    assert (found.count, found.wrong) == (2_001, 2)


Bounded = Callable[..., Accepted | None]


@pytest.mark.parametrize("accepted", [accepted_from, accepted_downwards])
def test_answers_of_one_confidence_are_accepted_together_or_not_at_all(accepted: Bounded) -> None:
    right = [True] * 980
    assert accepted([0.5] * 980, right, 0.01) == (0.5, 980, 0)
    assert accepted([0.5] * 1_000, right + [False] * 20, 0.01) is None


@pytest.mark.parametrize("accepted", [accepted_from, accepted_downwards])
def test_who_wants_to_be_surer_needs_more_answers(accepted: Bounded) -> None:
    assert accepted([0.5] * 400, [True] * 400, 0.01) == (0.5, 400, 0)
    assert accepted([0.5] * 400, [True] * 400, 0.01, level=0.999) is None


def test_answers_that_were_chosen_for_being_wrong_do_not_count_against_a_threshold() -> None:
    judged = [Judged(0, 0)] * 400 + [Judged(0, 1, kind="wrong")] * 400
    assert evidence.threshold(judged, 0.01).count == 400


def test_all_answers_together_are_weighed_by_how_many_there_are() -> None:
    found = evidence.overall(Rate(50, 100), Rate(99, 100), 0.9)
    assert found is not None
    assert found[0] == pytest.approx(0.1 * 0.5 + 0.9 * 0.99)
    assert found[1] < found[0] < found[2]
    assert evidence.overall(Rate(50, 100), Rate(0, 0), 0.9) is None
    assert evidence.overall(Rate(0, 0), Rate(99, 100), 0.9) is None
    assert evidence.overall(Rate(50, 100), Rate(99, 100), None) is None


FIRST = {"accept": 90, "review": 10, "reviewed": 0, "model_answers": 100, "model_accepts": 90}
COUNTED = {"accept": 60, "review": 2, "reviewed": 38, "model_answers": 100, "model_accepts": 90}
OF_BEFORE = {"model_answers": None, "model_accepts": None}
NOT_COUNTED = {**COUNTED, **OF_BEFORE}
NOBODY_YET = {**FIRST, **OF_BEFORE}
BEFORE_REVIEWS = {**NOBODY_YET, "reviewed": None}


@pytest.mark.parametrize(
    ("nights", "accepted"),
    [
        ([FIRST], 0.9),
        ([FIRST, COUNTED], 0.9),
        ([FIRST, NOT_COUNTED], 0.9),
        ([NOBODY_YET, BEFORE_REVIEWS], 0.9),
        ([NOT_COUNTED], None),
        ([], None),
    ],
)
def test_a_page_weighs_the_doubtful_and_the_sample_by_how_many_there_are_of_each(
    nights: list[dict[str, int | None]], accepted: float | None
) -> None:
    def review(kind: str, *, right: bool) -> Review:
        said = dict.fromkeys(Review._fields, 0) | {"kind": kind, "model": "m@1", "at": MONDAY}
        return Review(**said | {"answer": 0 if right else 1})

    reviews = [review("doubtful", right=number < 1) for number in range(4)]
    reviews += [review("sample", right=True) for _ in range(4)]
    reviews += [review("wrong", right=False) for _ in range(4)]
    # Beside the unreadable ones, and those that were still being written.
    rest = {"model": "m@1", "found": 113, "unreadable": 10, "left": 3}
    nights = [{**rest, **night} for night in nights]
    card = SimpleNamespace(identity="n@1", labels=["a", "b"], accept_threshold=0.5)
    engine: Any = SimpleNamespace(card=card)
    models: Any = SimpleNamespace(engines=[engine], labels=lambda: card.labels)
    (told,) = runs._of_models(reviews, nights, models)
    if accepted is None:
        assert told.overall is None
    else:
        assert told.overall is not None
        assert told.overall.share == pytest.approx((1 - accepted) * 0.25 + accepted * 1.0)
