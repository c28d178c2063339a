"""The nightly run: classify every image of a directory and write predictions.csv."""

import gc
import logging
import signal
import sys

gc.disable()  # modules make no garbage: to look for it takes a third of a night without photos
from garments import batch
from garments.batch import command
from garments.settings import Settings

gc.freeze()
gc.enable()
logger = logging.getLogger("batch_request")


def main() -> int:
    """Run one night and return the exit code that README.md explains."""
    given = command.given(__doc__)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if given.pop("engine") == "ray":
            from garments import cluster  # only where it is asked for: the client knows no network

            counts = cluster.run(settings=Settings.from_environment(), **given)
        else:
            settings = Settings.from_environment(service_url=given.pop("url"))
            counts = batch.run(settings=settings, **given)
    except (Exception, KeyboardInterrupt) as error:
        # Python's own exit code for a fault of ours, 1, would say: finished, some unreadable.
        fault = type(error) not in batch.CODES
        logger.error(batch.explain(error, given["output"]), exc_info=fault)
        return batch.CODES.get(type(error), 3)
    return 1 if counts.amiss else 0


if __name__ == "__main__":
    sys.exit(main())
