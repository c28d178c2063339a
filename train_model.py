"""Train a network on Fashion-MNIST or on photos and write the model folder that is served."""

import argparse
import logging
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow reports every device it lacks

from garments.dataset import DatasetError
from garments.settings import Settings, SettingsError


def main() -> None:
    """Train, write the folder and print the scores; exit with 2 for bad data or usage."""
    parser = argparse.ArgumentParser(description=__doc__)
    try:
        from garments import training

        parser.add_argument("--photos", type=Path, nargs="+", action="extend", metavar="DIR")
        parser.add_argument("--architecture", choices=sorted(training.RECIPES))
        parser.add_argument("--name", help="folder in model/; fashion-mnist, with photos: photo")
        parser.add_argument("--seeds", "--seed", type=int, nargs="+", action="extend", metavar="N")
        parser.add_argument("--epochs", type=int, help="default: as suits the architecture")
        parser.add_argument("--quick", action="store_true", help="a few minutes' worth of training")
        parser.add_argument("--backend", choices=training.BACKENDS, default=training.BACKENDS[0])
        parser.add_argument("--teachers", type=Path, nargs="+", action="extend", metavar="DIR")
        logging.basicConfig(level=logging.INFO, format="%(message)s")
        given, own = vars(parser.parse_args()), Settings.from_environment()
        print(training.carry_out(own.model_dir, Path("Data"), own.dataset_dir, **given))
    except KeyboardInterrupt:
        parser.exit(130, "interrupted: the same command goes on after the last epoch\n")
    except ModuleNotFoundError as error:
        parser.error(f"{error.name} is not installed: make torch installs all that training needs")
    except (DatasetError, SettingsError, training.TrainingError, OSError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
