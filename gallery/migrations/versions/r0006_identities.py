"""What tells a store that was restored from the one that its backup was taken of."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Make the table; it stays empty, so that indexes of before keep their names."""
    op.create_table("identities", sa.Column("identity", sa.String(32), primary_key=True))
