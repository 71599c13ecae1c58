"""Consent, capture time, retention, keys, receipts, and the audit log."""

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add columns to existing tables, and create the new ones."""
    _alter_tables()
    _name_subjects()
    _make_consents()
    _make_records()
    # Version 0.1.0 checks only this table, and must see that the store is too new for it.
    op.execute("INSERT INTO schema_version VALUES (2)")


def _parent(column: str) -> sa.ForeignKey:
    return sa.ForeignKey(column, ondelete="CASCADE")


def _alter_tables() -> None:
    for column in (
        sa.Column("retention", sa.String(16), nullable=False, server_default="keep"),
        sa.Column("audit_number", sa.Integer, nullable=False, server_default="0"),
        sa.Column("audit_hash", sa.String(64), nullable=False, server_default=""),
    ):
        op.add_column("galleries", column)
    op.add_column("subjects", sa.Column("token", sa.String(32), nullable=False, server_default=""))
    op.add_column("subjects", sa.Column("wrapped_key", sa.LargeBinary))
    op.add_column("samples", sa.Column("captured_at", sa.String(32)))


def _name_subjects() -> None:
    """Give every subject a unique random token, by which the audit log refers to it."""
    subjects = sa.table("subjects", sa.column("id", sa.Integer), sa.column("token", sa.String))
    connection = op.get_bind()
    for row in list(connection.scalars(sa.select(subjects.c.id))):
        named = sa.update(subjects).where(subjects.c.id == row)
        connection.execute(named.values(token=secrets.token_hex(16)))
    op.create_index("ix_subjects_token", "subjects", ["token"], unique=True)


def _make_consents() -> None:
    op.create_table(
        "consents",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("subject", sa.Integer, _parent("subjects.id"), nullable=False, index=True),
        sa.Column("sample", sa.Integer, _parent("samples.id"), index=True),
        sa.Column("basis", sa.String(64), nullable=False),
        sa.Column("reference", sa.String(256)),
        sa.Column("expires", sa.String(32), index=True),
        sa.Column("recorded_at", sa.String(32), nullable=False),
    )


def _make_records() -> None:
    op.create_table(
        "master_keys",
        sa.Column("fingerprint", sa.String(32), primary_key=True),
        sa.Column("created_at", sa.String(32), nullable=False),
    )
    op.create_table(
        "receipts",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("gallery", sa.Integer, _parent("galleries.id"), nullable=False, index=True),
        sa.Column("created_at", sa.String(32), nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_table(
        "audit",
        sa.Column(
            "gallery", sa.Integer, _parent("galleries.id"), primary_key=True, autoincrement=False
        ),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("at", sa.String(32), nullable=False),
        sa.Column("actor", sa.String(128), nullable=False),
        sa.Column("action", sa.String(32), nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("outcome", sa.String(32), nullable=False),
        sa.Column("subject", sa.String(32)),
        sa.Column("counts", sa.Text, nullable=False),
        sa.Column("previous", sa.String(64), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
    )
