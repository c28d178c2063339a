"""The results page states what the card of the served model states."""

from dataclasses import replace

import pytest

from garments.card import Card, read_card
from garments.report import fill
from garments.training.results import PAGE, tables
from tests.conftest import MODEL, PROJECT

pytestmark = pytest.mark.slow  # training's package takes TensorFlow some seconds


@pytest.fixture(scope="module")
def card() -> Card:
    return read_card(MODEL)


def test_the_page_is_what_make_results_writes(card: Card) -> None:
    page = (PROJECT / PAGE).read_text(encoding="utf-8")
    assert fill(page, tables(card)) == page, "run make results"


def test_a_table_fills_its_place_and_nothing_else() -> None:
    page = "a\n<!-- x -->\nold\n<!-- /x -->\nb\n"
    assert fill(page, {"x": "new\n"}) == "a\n<!-- x -->\nnew\n<!-- /x -->\nb\n"


def test_a_table_without_a_place_is_told() -> None:
    with pytest.raises(ValueError, match="<!-- x --> … <!-- /x -->"):
        fill("nothing here\n", {"x": "new\n"})


def test_every_class_and_every_alteration_has_its_row(card: Card) -> None:
    found = tables(card)
    for label in card.labels:
        assert f"\n| {label} |" in found["classes"]
    for name in card.scores["altered"]:
        assert f"\n| {name} |" in found["altered"]


def test_several_seeds_have_a_mean_and_a_deviation(card: Card) -> None:
    run = card.runs[0]
    other = {**run, "seed": 99, "scores": {**run["scores"], "accuracy": 0.0}}
    mean = 100 * run["scores"]["accuracy"] / 2
    found = tables(replace(card, runs=[run, other]))["seeds"]
    assert f"| {mean:.2f} ± {mean * 2**0.5:.2f} % |" in found
