"""Train a network on Fashion-MNIST and write the model folder that the service reads."""

import argparse
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
    parser.add_argument("--epochs", type=int, help="default: what suits the architecture")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if not re.fullmatch(r"\w[\w.-]*", given.name):
        parser.error(f"{given.name!r} is no name for a folder: use letters, digits, - and _")
    try:
        settings = Settings.from_environment()
        folder = settings.model_dir / given.name
        choices = {"architecture": given.architecture, "seed": given.seed, "epochs": given.epochs}
        scores = training.train(folder, Path("Data"), settings.dataset_dir, **choices)
    except (DatasetError, SettingsError, training.TrainingError, OSError) as error:
        parser.error(str(error))
    print(report.as_text(scores, LABELS))


if __name__ == "__main__":
    main()
