"""What the tests have done in processes of their own. Each loads this anew, so it needs little."""

import logging
import os
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path

from garments.training_request import TrainingError

SOON = 60.0  # seconds, in which a process has begun on a busy machine


def tell(folder: Path, number: int, both: Barrier) -> None:
    """Leave word of this process and its threads once the other is there too; the second fails."""
    import torch

    logging.getLogger("tell").info("work %d", number)
    both.wait(SOON)
    (folder / str(number)).write_text(f"{os.getpid()} {torch.get_num_threads()}")
    if number == 2:
        raise TrainingError("the disk is full")


def wait(folder: Path) -> None:
    (folder / str(os.getpid())).touch()
    time.sleep(10 * SOON)
