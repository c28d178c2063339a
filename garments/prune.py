"""Drop old answers for photos that are gone, so that the database does not grow for ever.

Run as `python -m garments.prune`, while no night runs; docs/night.md tells more.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime, timedelta, timezone

from garments.settings import Settings, SettingsError
from garments.store import Busy, Database, Store, StoreError
from garments.store.retention import Pruned, prune
from garments.terminal import tell

_DAYS = 90
_MOST_DAYS = 36_500


class PruneError(Exception):
    """Nothing can be dropped; the text says why, and what to do."""


def _days(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= _MOST_DAYS:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to {_MOST_DAYS:,}")
    return int(text)


def _prune(url: str, before: datetime) -> Pruned:
    with closing(Database(url)) as database:
        if not database.exists():
            raise PruneError(f"there is no database {database}: see GARMENTS_DATABASE_URL")
        with closing(Store(url)) as store, store.locked("prune"):
            store.open()
            return prune(database, before)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prune, and say what went.

    1 where it went but that cannot be said, 2 where it cannot be done, 4 while a night is
    running, and 130 where it was interrupted.
    """
    parser = argparse.ArgumentParser(prog="garments.prune", description=__doc__)
    parser.add_argument(
        "--days", type=_days, default=_DAYS, help="days that an answer is kept; %(default)s"
    )
    before = datetime.now(timezone.utc) - timedelta(days=parser.parse_args(arguments).days)
    try:
        pruned = _prune(Settings.from_environment().database_url, before)
    except (PruneError, SettingsError, StoreError) as error:
        print(f"the database was not pruned: {error}", file=sys.stderr)
        return 2
    except Busy as error:
        print(f"the database was not pruned: {error}; try again when it is over", file=sys.stderr)
        return 4
    except KeyboardInterrupt:
        print("interrupted: the same command goes on", file=sys.stderr)
        return 130
    try:
        tell(
            f"{pruned.dropped:,} answers from before {before:%Y-%m-%d} dropped, {pruned.kept:,} "
            "kept; what is free now in the database, the next nights use"
        )
    except OSError as error:
        print(f"the database is pruned; {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
