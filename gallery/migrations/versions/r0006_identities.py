"""An identity that tells a restored store from the one that its backup was made of."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Create the table; it stays empty, so that existing indexes keep their names."""
    op.create_table("identities", sa.Column("identity", sa.String(32), primary_key=True))
