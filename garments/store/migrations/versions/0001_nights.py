"""Runs, photos and answers."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "runs",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("directory", sa.LargeBinary, nullable=False),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("process", sa.Integer, nullable=False),
        sa.Column("started", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended", sa.DateTime(timezone=True)),
        sa.Column("model", sa.String(200)),
        sa.Column("found", sa.Integer),
        sa.Column("accept", sa.Integer),
        sa.Column("review", sa.Integer),
        sa.Column("unreadable", sa.Integer),
        sa.Column("left", sa.Integer),
        sa.Column("posted", sa.Integer),
        sa.Column("seconds", sa.Float),
        sa.Column("classes", sa.JSON),
        sa.Column("confidences", sa.JSON),
    )
    op.create_table(
        "photos",
        sa.Column("directory", sa.LargeBinary, primary_key=True),
        sa.Column("name", sa.LargeBinary, primary_key=True),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("modified", sa.BigInteger, nullable=False),
        sa.Column("changed", sa.BigInteger, nullable=False),
        sa.Column("digest", sa.LargeBinary),
        sa.Column("problem", sa.Text),
        sa.Column("expected", sa.Integer),
        sa.Column("run", sa.Integer, sa.ForeignKey("runs.id"), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "answers",
        sa.Column("digest", sa.LargeBinary, primary_key=True),
        sa.Column("model", sa.String(200), primary_key=True),
        sa.Column("run", sa.Integer, sa.ForeignKey("runs.id"), nullable=False),
        sa.Column("decision", sa.String(20), nullable=False),
        sa.Column("prediction", sa.Integer),
        sa.Column("label", sa.Text),
        sa.Column("confidence", sa.Float),
        sa.Column("top", sa.JSON),
        sa.Column("problem", sa.Text),
        sa.Column("thumbnail", sa.LargeBinary),
    )
