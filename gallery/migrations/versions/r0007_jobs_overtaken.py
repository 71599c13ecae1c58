"""Lets an interrupted rebuild detect that somebody has switched generations since."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add a position in the audit log; for existing jobs, the current one is the best guess."""
    op.add_column("jobs", sa.Column("audit_number", sa.Integer))
    op.execute(
        "UPDATE jobs SET audit_number = "
        "(SELECT galleries.audit_number FROM galleries WHERE galleries.id = jobs.gallery)"
    )
