"""Say how accurate predictions.csv is: scores, a table a class, and the confusion matrix."""

import argparse
from pathlib import Path

from garments import accuracy, report
from garments.dataset import LABELS
from garments.predictions import TableError, read_predictions
from garments.terminal import path, tell


def main() -> None:
    """Print the scores and draw the confusion matrix; exit with 2 for an unusable file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("predictions", nargs="?", type=path, default=Path("predictions.csv"))
    parser.add_argument("--labels", type=path, help="CSV of filename,label; default: as in names")
    parser.add_argument(
        "--plot", type=path, default=Path("confusion_matrix.png"), help="default: %(default)s"
    )
    parser.add_argument("--against", type=path, help="what another model said of the same files")
    given = parser.parse_args()
    try:
        rows = read_predictions(given.predictions, len(LABELS))
        told = given.labels and accuracy.read_labels(given.labels, LABELS)
        truth = told or accuracy.labels_in_names(rows, len(LABELS))
        others = given.against and read_predictions(given.against, len(LABELS))
        scores = accuracy.compare(rows, truth, len(LABELS))
        texts = accuracy.beside(rows, truth), report.as_text(scores, LABELS)
        tell("\n".join(filter(None, texts)))
        if others is not None:
            tell(f"\n{accuracy.against(rows, others, truth)}")
        report.plot_confusion(scores.confusion, LABELS, given.plot, (scores.right, scores.count))
        tell(f"\nThe confusion matrix is drawn in {given.plot}.")
    except (TableError, OSError, ValueError, RuntimeError) as error:  # a plot's format, too
        parser.error(str(error))


if __name__ == "__main__":
    main()
