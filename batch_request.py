"""The nightly run: classify every image of a directory and write predictions.csv."""

import argparse
import logging
import sys
from dataclasses import replace
from pathlib import Path

from garments import batch
from garments.settings import Settings, SettingsError

logger = logging.getLogger("batch_request")


def main() -> int:
    """Run one night; 0 all classified, 1 some unreadable, 2 usage, 3 service, 130 interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", nargs="?", type=Path, default=Path("images"))
    parser.add_argument("--output", type=Path, default=Path("predictions.csv"))
    parser.add_argument("--url", help="where the service is; default: GARMENTS_SERVICE_URL")
    given = parser.parse_args()
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    try:
        settings = Settings.from_environment()
        settings = replace(settings, service_url=given.url or settings.service_url)
        counts = batch.run(given.directory, given.output, settings)
        logger.info("%s: %s", given.output, counts)
        return 1 if counts.unreadable else 0
    except (SettingsError, batch.UsageError) as error:
        code, reason = 2, str(error)
    except batch.ServiceError as error:
        code, reason = 3, str(error)
    except KeyboardInterrupt:
        code, reason = 130, "interrupted"
    logger.error("%s; %s was not written", reason, given.output)
    return code


if __name__ == "__main__":
    sys.exit(main())
