"""Which thumbnails are kept for what a slip says, and so are of no random sample."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Make the column; of thumbnails before it is not known."""
    op.add_column("answers", sa.Column("drawn_for_slip", sa.Boolean))
