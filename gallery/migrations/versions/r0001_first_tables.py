"""The tables of version 0.1.0."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create all tables, and the row by which 0.1.0 recognises its own stores."""
    _make_galleries()
    _make_people()
    _make_contents()
    version = op.create_table("schema_version", sa.Column("version", sa.Integer, primary_key=True))
    op.bulk_insert(version, [{"version": 1}])


def _parent(column: str) -> sa.ForeignKey:
    return sa.ForeignKey(column, ondelete="CASCADE")


def _make_galleries() -> None:
    op.create_table(
        "galleries",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(128), nullable=False, unique=True),
        sa.Column("changes", sa.Integer, nullable=False),
    )
    is_known = sa.CheckConstraint("state IN ('building', 'live', 'old')")
    op.create_table(
        "generations",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("gallery", sa.Integer, _parent("galleries.id"), nullable=False),
        sa.Column("model_id", sa.String(256), nullable=False),
        sa.Column("embedding_length", sa.Integer, nullable=False),
        sa.Column("state", sa.String(16), is_known),
        sa.Column("retired", sa.Integer),
        sa.Column("created_at", sa.String(32), nullable=False),
        sa.UniqueConstraint("gallery", "model_id", "embedding_length"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "changes",
        sa.Column(
            "gallery", sa.Integer, _parent("galleries.id"), primary_key=True, autoincrement=False
        ),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("sample", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.String(16), nullable=False),
    )


def _make_people() -> None:
    by_its_bytes = sa.String(128).with_variant(sa.String(128, collation="C"), "postgresql")
    op.create_table(
        "subjects",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("gallery", sa.Integer, _parent("galleries.id"), nullable=False),
        sa.Column("subject", by_its_bytes, nullable=False),
        sa.Column("created_at", sa.String(32), nullable=False),
        sa.UniqueConstraint("gallery", "subject"),
    )
    op.create_table(
        "samples",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("sample_id", sa.String(32), nullable=False),
        sa.Column("gallery", sa.Integer, _parent("galleries.id"), nullable=False),
        sa.Column("subject", sa.Integer, _parent("subjects.id"), nullable=False, index=True),
        sa.Column("created_at", sa.String(32), nullable=False),
        sa.Column("frames", sa.Integer, nullable=False),
        sa.Column("metadata", sa.Text, nullable=False),
        sa.UniqueConstraint("gallery", "sample_id"),
        sqlite_autoincrement=True,
    )


def _make_contents() -> None:
    op.create_table(
        "silhouettes",
        sa.Column(
            "sample", sa.Integer, _parent("samples.id"), primary_key=True, autoincrement=False
        ),
        sa.Column("format", sa.String(32), nullable=False),
        sa.Column("frames", sa.Integer, nullable=False),
        sa.Column("height", sa.Integer, nullable=False),
        sa.Column("width", sa.Integer, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "embeddings",
        sa.Column(
            "generation",
            sa.Integer,
            _parent("generations.id"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column(
            "sample",
            sa.Integer,
            _parent("samples.id"),
            primary_key=True,
            autoincrement=False,
            index=True,
        ),
        sa.Column("vector", sa.LargeBinary, nullable=False),
    )
