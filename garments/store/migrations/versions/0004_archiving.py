"""Whether a night began to archive."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make the column; nights before did not say."""
    op.add_column("runs", sa.Column("archiving", sa.Boolean))
