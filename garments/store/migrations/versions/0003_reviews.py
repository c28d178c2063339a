"""What people said, the queue for them, and the reports of nights."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the tables, and the columns that nights fill from now on."""
    op.add_column("runs", sa.Column("confidence", sa.Float))
    op.add_column("runs", sa.Column("reviewed", sa.Integer))
    op.add_column("runs", sa.Column("mismatched", sa.Integer))
    op.add_column("photos", sa.Column("waiting", sa.Float))
    waits = sa.text("waiting IS NOT NULL")
    for name, columns in (
        ("photos_waiting", ["waiting", "digest"]),
        ("photos_waiting_digest", ["digest"]),
    ):
        op.create_index(name, "photos", columns, sqlite_where=waits, postgresql_where=waits)
    op.create_table(
        "reviews",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("request", sa.String(64), nullable=False, unique=True),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("answer", sa.Integer),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("undone", sa.DateTime(timezone=True)),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("directory", sa.LargeBinary),
        sa.Column("name", sa.LargeBinary),
        sa.Column("expected", sa.Integer),
        sa.Column("model", sa.String(200), nullable=False),
        sa.Column("prediction", sa.Integer),
        sa.Column("confidence", sa.Float),
        sa.Column("decision", sa.String(20), nullable=False),
    )
    op.create_index("ix_reviews_at", "reviews", ["at"])
    stands = sa.text("undone IS NULL")
    op.create_index(
        "reviews_standing",
        "reviews",
        ["digest"],
        unique=True,
        sqlite_where=stands,
        postgresql_where=stands,
    )
    op.create_table(
        "leases",
        sa.Column("digest", sa.LargeBinary, primary_key=True),
        sa.Column("tab", sa.String(64), nullable=False),
        sa.Column("until", sa.Float, nullable=False),
    )
    op.create_table(
        "skips",
        sa.Column("digest", sa.LargeBinary, primary_key=True),
        sa.Column("who", sa.Text, primary_key=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "reports",
        sa.Column("run", sa.Integer, sa.ForeignKey("runs.id"), primary_key=True),
        sa.Column("page", sa.LargeBinary, nullable=False),
    )
