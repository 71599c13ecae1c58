"""Deletion of galleries, and an index kind for each gallery."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add a column; until now, only the service's setting chose the kind of index."""
    op.add_column("galleries", sa.Column("deleted_at", sa.String(32)))
    op.execute("UPDATE galleries SET index_kind = 'service'")
