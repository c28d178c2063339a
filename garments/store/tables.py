"""The tables. A change needs a new file in `migrations/versions/`, and its name in SCHEMA."""

from __future__ import annotations

from datetime import datetime, timezone

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
)

SCHEMA = "0006"
"""The migration that makes the tables as they are here."""

metadata = MetaData()


class _Moment(TypeDecorator[datetime]):
    """A moment with its time zone; SQLite keeps none, and means UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give a moment that is read the zone that it lacks."""
        return value if value is None or value.tzinfo else value.replace(tzinfo=timezone.utc)


runs = Table(
    "runs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("directory", LargeBinary, nullable=False),
    Column("host", Text, nullable=False),
    Column("process", Integer, nullable=False),
    Column("started", _Moment, nullable=False),
    Column("ended", _Moment),  # empty for one that was killed
    Column("model", String(200)),  # as that of answers
    Column("found", Integer),
    Column("accept", Integer),
    Column("review", Integer),
    Column("unreadable", Integer),
    Column("left", Integer),
    Column("posted", Integer),
    Column("seconds", Float),
    # Counts of the photos that were new: by class, and by twentieths of confidence.
    Column("classes", JSON),
    Column("confidences", JSON),
    Column("confidence", Float),  # their mean
    Column("reviewed", Integer),
    Column("mismatched", Integer),
    # Whether its table is written, and photos in it may have gone to an archive.
    Column("archiving", Boolean),
    # What the model said of the photos, also of those that a person has answered for: how many
    # answers there were, and how many of them it accepted. Empty for a night that did not count.
    Column("model_answers", Integer),
    Column("model_accepts", Integer),
)

# Every image that was in a directory at the end of its last night; and of what went to an archive,
# what people have yet to answer for, or may still take back. Names are bytes, since that is what a
# file system has, and since all databases sort bytes alike.
photos = Table(
    "photos",
    metadata,
    Column("directory", LargeBinary, primary_key=True),
    Column("name", LargeBinary, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("modified", BigInteger, nullable=False),  # nanoseconds, as the two times of stat
    Column("changed", BigInteger, nullable=False),
    Column("digest", LargeBinary),  # SHA-256; empty where the file could not be read
    Column("problem", Text),  # why there may be no answer, for this night only
    Column("expected", Integer),  # the class on the return slip
    Column("run", Integer, ForeignKey("runs.id"), nullable=False),  # that first saw this content
    # Its rank in the queue for people, the lowest first; empty for what nobody needs to look at.
    Column("waiting", Float),
    sqlite_with_rowid=False,
)

# What a model said of a content, whichever files have it.
answers = Table(
    "answers",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    # name@version of all models that the service chooses from, joined by +.
    Column("model", String(200), primary_key=True),
    Column("run", Integer, ForeignKey("runs.id"), nullable=False),
    Column("decision", String(20), nullable=False),
    Column("prediction", Integer),
    Column("label", Text),
    Column("confidence", Float),
    Column("top", JSON),  # [[label, confidence], …], the likeliest first
    Column("problem", Text),  # why the service could not read it
    Column("thumbnail", LargeBinary),  # JPEG or PNG, of what people may be shown
    # Whether it is kept only since a slip says something else, or since an earlier answer had it.
    Column("drawn_for_slip", Boolean),
    Column("answered_by", String(200)),  # name@version of the one of them that did; or `model`
)

# What people said of a content, whichever model answers; nothing is ever taken out.
reviews = Table(
    "reviews",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("request", String(64), nullable=False, unique=True),  # as the page calls this decision
    Column("digest", LargeBinary, nullable=False),
    Column("answer", Integer),  # empty for none of the classes
    Column("who", Text, nullable=False),
    Column("at", _Moment, nullable=False, index=True),
    Column("undone", _Moment),  # when the same person took it back
    # Why it was shown, what stood there then, and what the model had said.
    Column("kind", String(20), nullable=False),
    Column("directory", LargeBinary),
    Column("name", LargeBinary),
    Column("expected", Integer),
    Column("model", String(200), nullable=False),
    Column("prediction", Integer),
    Column("confidence", Float),
    Column("decision", String(20), nullable=False),
)

WAITS = photos.c.waiting.is_not(None)
"""That a photo is in the queue for people; the indexes of those that are say the same."""
STANDS = reviews.c.undone.is_(None)
"""That nobody has taken a review back; the index that lets one of a content stand says the same."""

# Who has a content before them, so that nobody else gets it.
leases = Table(
    "leases",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("tab", String(64), nullable=False),
    Column("until", Float, nullable=False),  # seconds since 1970
)

# What a person passed over; they get it again when nothing else is left.
skips = Table(
    "skips",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("who", Text, primary_key=True),
    Column("at", _Moment, nullable=False),
)

# The morning reports of the last nights, packed by zlib.
reports = Table(
    "reports",
    metadata,
    Column("run", Integer, ForeignKey("runs.id"), primary_key=True),
    Column("page", LargeBinary, nullable=False),
)
