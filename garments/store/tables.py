"""The tables. A change here needs a new file in `migrations/versions/`, and its name in SCHEMA."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    DateTime,
    Float,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

SCHEMA = "0002"
"""The migration that makes the tables as they are here."""

metadata = MetaData()

runs = Table(
    "runs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("directory", LargeBinary, nullable=False),
    Column("host", Text, nullable=False),
    Column("process", Integer, nullable=False),
    Column("started", DateTime(timezone=True), nullable=False),
    Column("ended", DateTime(timezone=True)),  # empty for one that was killed
    Column("model", String(200)),  # name@version
    Column("found", Integer),
    Column("accept", Integer),
    Column("review", Integer),
    Column("unreadable", Integer),
    Column("left", Integer),
    Column("posted", Integer),
    Column("seconds", Float),
    # Of the photos that were new: counts by class, and by twentieths of confidence.
    Column("classes", JSON),
    Column("confidences", JSON),
)

# Every image that was in a directory at the end of its last night. Names are bytes, since that
# is what a file system has, and since all databases sort bytes alike.
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
    Column("thumbnail", LargeBinary),  # JPEG or PNG, of what goes to review
    Column("answered_by", String(200)),  # name@version of the one of them that did; or `model`
)
