"""The command line of the nightly run."""

from __future__ import annotations

import argparse
from typing import Any

from garments.terminal import path, place

ENGINES = ("service", "ray")
_CODES = (
    "It ends with 0 when every image is classified, 1 when some are unreadable or not archived, "
    "2 for what cannot be used, 3 when what classifies cannot be reached or fails, 4 when another "
    "night, garments.prune or a run with the same table is busy, and 130 when it is interrupted."
)


def given(description: str | None) -> dict[str, Any]:
    """What it says, by the option; ends the process with code 2 where it cannot be meant.

    Places are text, since a URL is one too.
    """
    made = _parser(description)
    found = vars(made.parse_args())
    urls = [found[name] for name in ("directory", "output") if "://" in found[name]]
    if urls and found["engine"] != "ray":
        made.error(f"{urls[0]} is no folder or file here: add --engine ray, which reads s3:// URLs")
    if found["engine"] != "ray" and found["output"].lower().endswith((".parquet", ".xlsx")):
        made.error(
            f"the table is CSV: have {found['output']} end in .csv, or add --engine ray, which "
            "writes .parquet too"
        )
    return found


def _parser(description: str | None) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=description, epilog=_CODES)
    made.add_argument(
        "directory",
        nargs="?",
        type=place,
        default="images",
        help="where the photos are, also in folders below; default: %(default)s",
    )
    made.add_argument(
        "--output",
        type=place,
        default="predictions.csv",
        help="the table; report.html goes beside it, in the place of another table's; "
        "default: %(default)s",
    )
    made.add_argument(
        "--engine",
        choices=ENGINES,
        default=ENGINES[0],
        help="what classifies: the running service, or Ray without one; default: %(default)s",
    )
    made.add_argument("--url", help="where the service is; default: GARMENTS_SERVICE_URL")
    slips = "return slips: a CSV of filename,expected, which is a class"
    made.add_argument("--expected", type=path, help=slips)
    made.add_argument(
        "--archive",
        type=path,
        help="folder to move classified photos to; a second run of a day then needs another "
        "--output: the first table alone names what was moved",
    )
    made.add_argument("--model", help="what answers for all photos; default: by the photo")
    made.add_argument("--fresh", action="store_true", help="send photos with known answers too")
    return made
