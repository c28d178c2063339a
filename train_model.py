"""Train a network on Fashion-MNIST or on photos and write the model folder that is served."""

import logging
import os
from pathlib import Path

from garments.settings import Settings, SettingsError
from garments.terminal import tell
from garments.training_request import Request, TrainingError, check, how_to_install, parser

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow reports every device it lacks


def main() -> None:
    """Train, write the folder and print the scores; exit with 2 for bad data or usage."""
    asked = parser(__doc__)
    request = Request(**vars(asked.parse_args()))
    try:
        # Set for good: what Keras' own file of settings names would count otherwise.
        check(request, keras=os.environ.setdefault("KERAS_BACKEND", "tensorflow"))
        own = Settings.from_environment()
        # Not above: help needs no TensorFlow, and who interrupts while it loads is answered below.
        from garments.training.command import carry_out

        logging.basicConfig(level=logging.INFO, format="%(message)s")
        scores = carry_out(own.model_dir, Path("Data"), own.dataset_dir, request)
    except KeyboardInterrupt:
        asked.exit(130, "interrupted: the same command goes on after the last epoch\n")
    except ModuleNotFoundError as error:
        asked.error(f"{error.name} is not installed: {how_to_install(request)}")
    except (SettingsError, TrainingError, OSError) as error:
        asked.error(str(error))
    try:
        tell(scores)
    except OSError as error:
        asked.exit(1, f"the model is in place, and its scores on its card; {error}\n")


if __name__ == "__main__":
    main()
