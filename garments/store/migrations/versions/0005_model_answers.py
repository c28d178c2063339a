"""What the model alone said in a night, whatever people had said by then."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Make the columns; nights before did not count it."""
    op.add_column("runs", sa.Column("model_answers", sa.Integer))
    op.add_column("runs", sa.Column("model_accepts", sa.Integer))
