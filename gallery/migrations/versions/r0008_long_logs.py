"""Numbers of 64 bits for the audit log, in which every search is a row."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Widen the columns on a server; whole numbers of SQLite have 64 bits anyway."""
    if op.get_bind().dialect.name == "sqlite":
        return
    for table, column in (
        ("audit", "number"),
        ("galleries", "audit_number"),
        ("jobs", "audit_number"),
    ):
        op.alter_column(table, column, type_=sa.BigInteger, existing_type=sa.Integer)
