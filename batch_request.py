"""The nightly run: classify every image of a directory and write predictions.csv."""

import argparse
import logging
import signal
import sys
from pathlib import Path

from garments import batch
from garments.settings import Settings, SettingsError

CODES = {SettingsError: 2, batch.UsageError: 2, batch.ServiceError: 3, KeyboardInterrupt: 130}

logger = logging.getLogger("batch_request")


def main() -> int:
    """Run one night and return the exit code that README.md explains."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", nargs="?", type=Path, default=Path("images"))
    parser.add_argument("--output", type=Path, default=Path("predictions.csv"))
    parser.add_argument("--url", help="where the service is; default: GARMENTS_SERVICE_URL")
    given = parser.parse_args()
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        settings = Settings.from_environment(service_url=given.url)
        counts = batch.run(given.directory, given.output, settings)
    except (Exception, KeyboardInterrupt) as error:
        # Python's own exit code for a fault of ours, 1, would say: finished, some unreadable.
        fault = type(error) not in CODES
        reason = str(error) or "interrupted"
        logger.error("%s; %s was not written", reason, given.output, exc_info=fault)
        return CODES.get(type(error), 3)
    return 1 if counts.unreadable else 0


if __name__ == "__main__":
    sys.exit(main())
