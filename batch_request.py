"""The nightly run: classify every image of a directory and write predictions.csv."""

import argparse
import logging
import signal
import sys
from pathlib import Path

from garments import batch
from garments.settings import Settings

logger = logging.getLogger("batch_request")


def main() -> int:
    """Run one night and return the exit code that README.md explains."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", nargs="?", type=Path, default=Path("images"))
    parser.add_argument("--output", type=Path, default=Path("predictions.csv"))
    parser.add_argument("--url", help="where the service is; default: GARMENTS_SERVICE_URL")
    parser.add_argument("--expected", type=Path, help="return slips: a CSV of filename,expected")
    parser.add_argument("--archive", type=Path, help="folder to move classified photos to")
    parser.add_argument("--model", help="what answers for all photos; default: by the photo")
    parser.add_argument("--fresh", action="store_true", help="send photos with known answers too")
    given = vars(parser.parse_args())
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        settings = Settings.from_environment(service_url=given.pop("url"))
        counts = batch.run(settings=settings, **given)
    except (Exception, KeyboardInterrupt) as error:
        # Python's own exit code for a fault of ours, 1, would say: finished, some unreadable.
        fault = type(error) not in batch.CODES
        logger.error(batch.explain(error, given["output"]), exc_info=fault)
        return batch.CODES.get(type(error), 3)
    return 1 if counts.unreadable or counts.stuck else 0


if __name__ == "__main__":
    sys.exit(main())
