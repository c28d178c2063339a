"""The tables of docs/photos.md, made from the card of the model: `make results` writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from garments import report
from garments.card import Card, read_card
from garments.report import fill, percent, table

PAGE = Path("docs/photos.md")
MODEL = Path("model/photo")
_NAMES = ("accuracy", "accepted", "accepted_accuracy", "none_accepted")
_HEADER = ("right", "accepted", "right of the accepted", "accepted of none of the ten")


def tables(card: Card) -> dict[str, str]:
    """The tables by the name that their place on the page has."""
    return {
        "folds": _folds(card),
        "precision": _precision(card),
        "classes": _classes(card),
        "labels": _labels(card),
        "served": _served(card),
    }


def _folds(card: Card) -> str:
    rows = [_row(f"fold {n}", fold) for n, fold in enumerate(card.runs, start=1)]
    columns = [report.spread([fold[name] for fold in card.runs]) for name in _NAMES]
    rows.append([f"mean ± deviation of {len(card.runs)}", "", *columns])
    rows.append(_row("**all photos together**", card.validation))
    return table(["", "photos", *_HEADER], rows)


def _row(title: str, scores: Mapping[str, Any]) -> list[str]:
    return [title, f"{scores['count']:,}", *(percent(scores[name], 1) for name in _NAMES)]


def _precision(card: Card) -> str:
    kinds = {"eight-bit integers, served": card.validation, "float32": card.scores["float32"]}
    return table(["", "photos", *_HEADER], [_row(*kind) for kind in kinds.items()])


def _labels(card: Card) -> str:
    kinds = {"corrected": card.validation, "as they came": card.scores["as_they_came"]}
    return table(["labels", "photos", *_HEADER], [_row(*kind) for kind in kinds.items()])


def _classes(card: Card) -> str:
    names = ("accuracy", "precision", "accepted", "accepted_precision")
    rows: list[Sequence[str]] = [
        [label, f"{found['count']:,}", *(percent(found[name], 1) for name in names)]
        for label, found in card.validation["per_class"].items()
    ]
    header = ["class", "photos", "right", "precision", "accepted", "precision of the accepted"]
    return table(header, rows)


def _served(card: Card) -> str:
    shots = card.scores["catalogue_shots"]
    error = card.validation["expected_calibration_error"]
    rows = [
        ["version", f"`{card.version}`"],
        ["input", f"{card.width}×{card.height} pixels, {card.channels} channels"],
        ["parameters", f"{card.parameters:,}"],
        ["multiply-accumulates a photo", f"{card.multiply_accumulates:,}"],
        ["kinds told apart", f"{len(card.kinds)}"],
        ["epochs", f"{card.epochs}"],
        ["networks whose weights are averaged", f"{card.averaged}"],
        ["temperature", f"{card.temperature:.3f}"],
        ["accepted from a confidence of", f"{card.accept_threshold:.4f}"],
        ["expected calibration error, 15 bins", percent(error)],
        [
            f"right of {shots['count']:,} catalogue shots drawn from held-out Fashion-MNIST",
            percent(shots["accuracy"], 1),
        ],
    ]
    return table(["", ""], rows)


def main() -> None:
    """Write the tables into the page."""
    PAGE.write_text(fill(PAGE.read_text(encoding="utf-8"), tables(read_card(MODEL))), "utf-8")


if __name__ == "__main__":
    main()
