"""Settings of a gallery, calibrations of a generation, its model's hash, and rebuild jobs."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add columns to existing tables, and create the new ones."""
    for column in (
        sa.Column("aggregation", sa.String(16), nullable=False, server_default="nearest"),
        sa.Column("nearest_samples", sa.Integer, nullable=False, server_default="3"),
        sa.Column("conflict", sa.String(16), nullable=False, server_default="report"),
        sa.Column("index_kind", sa.String(16), nullable=False, server_default="exact"),
    ):
        op.add_column("galleries", column)
    op.add_column("generations", sa.Column("model_sha256", sa.String(64)))
    _make_calibrations()
    _make_jobs()
    op.execute("INSERT INTO schema_version VALUES (3)")


def _make_calibrations() -> None:
    op.create_table(
        "calibrations",
        sa.Column(
            "generation",
            sa.Integer,
            sa.ForeignKey("generations.id", ondelete="CASCADE"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("created_at", sa.String(32), nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )


def _make_jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column(
            "gallery",
            sa.Integer,
            sa.ForeignKey("galleries.id", ondelete="CASCADE"),
            nullable=False,
            index=True,
        ),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("model_id", sa.String(256), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("done", sa.Integer, nullable=False),
        sa.Column("total", sa.Integer, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("created_at", sa.String(32), nullable=False),
        sa.Column("updated_at", sa.String(32), nullable=False),
    )
