"""Let a benchmark that is told to stop end what it started."""

import signal
from collections.abc import Callable
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


def run(main: Callable[[], None]) -> None:
    """Run a benchmark, which SIGTERM and SIGHUP end as an exception would.

    Python else ends on the spot: services, which have a session of their own, and temporary folders
    would stay.
    """
    for number in _SIGNALS:
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup has one ignored
            signal.signal(number, _stop)
    main()


def _stop(number: int, _: FrameType | None) -> None:
    for each in _SIGNALS:  # another one would cut short what the first has begun
        signal.signal(each, signal.SIG_IGN)
    raise SystemExit(128 + number)
