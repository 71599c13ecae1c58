"""By what a rebuild that was interrupted knows that somebody switched generations since."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the place in the audit log; of jobs of before nobody knows more than that of today."""
    op.add_column("jobs", sa.Column("audit_number", sa.Integer))
    op.execute(
        "UPDATE jobs SET audit_number = "
        "(SELECT galleries.audit_number FROM galleries WHERE galleries.id = jobs.gallery)"
    )
