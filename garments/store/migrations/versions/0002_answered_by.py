"""Which of several models answered."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column; where it is empty, `model` names the only one."""
    op.add_column("answers", sa.Column("answered_by", sa.String(200)))
