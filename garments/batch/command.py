"""The command line of the nightly run."""

from __future__ import annotations

import argparse
from pathlib import Path

ENGINES = ("service", "ray")


def parser(description: str | None) -> argparse.ArgumentParser:
    """What reads it; places are text, since a URL is one too."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("directory", nargs="?", default="images")
    made.add_argument("--output", default="predictions.csv")
    made.add_argument("--engine", choices=ENGINES, default=ENGINES[0], help="what classifies")
    made.add_argument("--url", help="where the service is; default: GARMENTS_SERVICE_URL")
    made.add_argument("--expected", type=Path, help="return slips: a CSV of filename,expected")
    made.add_argument("--archive", type=Path, help="folder to move classified photos to")
    made.add_argument("--model", help="what answers for all photos; default: by the photo")
    made.add_argument("--fresh", action="store_true", help="send photos with known answers too")
    return made
