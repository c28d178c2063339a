"""Train a network on Fashion-MNIST and write the model folder that the service reads."""

import argparse
import logging
import os
import re
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow reports every device it lacks

from garments import report, training
from garments.dataset import LABELS, DatasetError
from garments.settings import Settings, SettingsError


def main() -> None:
    """Train, write the folder and print the test scores; exit with 2 for bad data or usage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--architecture", choices=sorted(training.RECIPES), default="residual")
    parser.add_argument("--name", default="fashion-mnist", help="the folder in model/ to write")
    parser.add_argument("--seeds", "--seed", type=int, nargs="+", default=[0], metavar="SEED")
    parser.add_argument("--epochs", type=int, help="default: what suits the architecture")
    parser.add_argument("--quick", action="store_true", help="a few minutes' worth of training")
    parser.add_argument("--backend", choices=training.BACKENDS, default=training.BACKENDS[0])
    given = vars(parser.parse_args())
    if not re.fullmatch(r"\w[\w.-]*", name := given.pop("name")):
        parser.error(f"{name!r} is no name for a folder: use letters, digits, - and _")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        settings = Settings.from_environment()
        folder, data = settings.model_dir / name, Path("Data")
        card, scores = training.train(folder, data, settings.dataset_dir, **given)
    except (DatasetError, SettingsError, training.TrainingError, OSError) as error:
        parser.error(str(error))
    print(report.as_text(scores, LABELS), report.seeds_as_text(card.runs), sep="\n\n")


if __name__ == "__main__":
    main()
