"""The tables of docs/results.md, made from a model's card: `make results` writes them anew."""

from __future__ import annotations

from pathlib import Path

from garments import report
from garments.card import Card, read_card
from garments.report import fill, percent, table

PAGE = Path("docs/results.md")
MODEL = Path("model/fashion-mnist")


def tables(card: Card) -> dict[str, str]:
    """The tables by the name that their place on the page has."""
    return {
        "seeds": _seeds(card),
        "served": _served(card),
        "classes": _classes(card),
        "altered": _altered(card),
    }


def _seeds(card: Card) -> str:
    columns = report.scores_of(card.runs)
    rows = [
        [f"{run['seed']}{' (served)' * (run['seed'] == card.seed)}", *map(percent, scores)]
        for run, scores in zip(card.runs, zip(*columns.values(), strict=True), strict=True)
    ]
    if len(rows) > 1:
        rows.append([f"mean ± deviation of {len(rows)}", *map(report.spread, columns.values())])
    return table(["seed", *columns], rows)


def _served(card: Card) -> str:
    error = percent(card.scores["expected_calibration_error"])
    interval = " to ".join(map(percent, card.scores["expected_calibration_error_95"]))
    unseen = card.scores["without_near_duplicates"]
    rows = [
        ["version", f"`{card.version}`"],
        ["parameters", f"{card.parameters:,}"],
        ["multiply-accumulates a picture", f"{card.multiply_accumulates:,}"],
        ["test accuracy", percent(card.scores["accuracy"])],
        [
            f"without the {card.scores['count'] - unseen['count']} near-duplicates",
            percent(unseen["accuracy"]),
        ],
        ["test loss", f"{card.scores['loss']:.4f}"],
        ["temperature", f"{card.temperature:.3f}"],
        ["expected calibration error, 15 bins", f"{error}, bootstrap interval {interval}"],
        ["accepted from a confidence of", f"{card.accept_threshold:.4f}"],
        ["accepted on validation", percent(card.validation["accepted"])],
        ["accepted on test", percent(card.scores["accepted"])],
        ["right of the accepted", percent(card.scores["accepted_accuracy"])],
    ]
    return table(["", ""], rows)


def _classes(card: Card) -> str:
    names = ("precision", "recall", "f1", "accepted", "accepted_precision")
    rows = [
        [label, *(percent(scores[name], 1) for name in names)]
        for label, scores in card.scores["per_class"].items()
    ]
    return table(
        ["class", "precision", "recall", "F1", "accepted", "precision of the accepted"], rows
    )


def _altered(card: Card) -> str:
    clean = card.scores["accuracy"]
    rows = [
        [name, percent(accuracy), f"{100 * (clean - accuracy):.2f}"]
        for name, accuracy in card.scores["altered"].items()
    ]
    return table(["alteration", "test accuracy", "points lost"], rows)


def main() -> None:
    """Write the tables into the page."""
    PAGE.write_text(fill(PAGE.read_text(encoding="utf-8"), tables(read_card(MODEL))), "utf-8")


if __name__ == "__main__":
    main()
