"""The nightly run: classify every image of a directory and write predictions.csv."""

import gc
import logging
import signal
import sys

gc.disable()  # modules make no garbage: to look for it takes a third of a night without photos
logger = logging.getLogger("batch_request")
try:
    from garments.batch import CODES, command, explain, run
    from garments.settings import Settings
except Exception:
    logger.exception("this program cannot start: .venv/bin/python has what it needs")
    sys.exit(3)  # 1, which Python would say, means that the night is finished
gc.freeze()
gc.enable()


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
            counts = run(settings=settings, **given)
    except (Exception, KeyboardInterrupt) as error:
        logger.error(explain(error, given["output"]), exc_info=type(error) not in CODES)
        return CODES.get(type(error), 3)
    return 1 if counts.amiss else 0


if __name__ == "__main__":
    sys.exit(main())
