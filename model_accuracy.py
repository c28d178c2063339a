"""Say how accurate predictions.csv is: scores, a table a class, and the confusion matrix."""

import argparse

from garments.predictions import TableError, read_predictions
from garments.terminal import path, tell


def main() -> None:
    """Print the scores and draw the confusion matrix; exit with 2 for bad files, 1 if untold."""
    parser = argparse.ArgumentParser(description=__doc__)
    add, default = parser.add_argument, "default: %(default)s"
    add("predictions", nargs="?", type=path, default="predictions.csv", help=default)
    add("--labels", type=path, help="CSV of filename and label or expected; default: as in names")
    add("--plot", type=path, default="confusion_matrix.png", help=default)
    add("--against", type=path, help="what another model said of the same files")
    given = parser.parse_args()
    try:
        from garments import accuracy  # not above: who interrupts while it loads is answered below
        from garments.dataset import LABELS

        accuracy.require_apart(given.plot, (given.predictions, given.labels, given.against))
        rows = read_predictions(given.predictions, len(LABELS))
        truth = accuracy.truth_of(rows, given.labels, LABELS)
        others = given.against and read_predictions(given.against, len(LABELS))
        scores = accuracy.compare(rows, truth, len(LABELS))
        for part in accuracy.told(rows, others, truth, scores, LABELS):
            tell(part)
        accuracy.draw(scores, LABELS, given.plot)
        tell(f"\nThe confusion matrix is drawn in {given.plot}.")
    except KeyboardInterrupt:
        parser.exit(130, "interrupted\n")
    except OSError as error:  # of what is read and drawn it is one of the others
        parser.exit(1, f"the answer cannot be told: {error}\n")
    except (TableError, ValueError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
