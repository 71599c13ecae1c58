"""The tables in their newest form; `gallery.migrations` brings older stores up to it.

    galleries ─┬─ generations ─┼─ calibrations    at most one per generation
               ├─ subjects     ├─ embeddings      one per sample and generation
               │     ├─ samples┴─ silhouettes     at most one per sample
               │     └─ consents                  of a subject, or of one sample
               ├─ changes                         what an index must do to follow
               ├─ jobs                            rebuilds that a service was asked for
               ├─ audit                           who did what, each row hashing the previous one
               └─ receipts                        of erasures, without anything that was erased
    master_keys                                   which key wraps the subjects' keys, if any
    api_keys                                      who may call the service, for all galleries
    identities                                    tells a restored store from its original

A sample's row number is also its number in the index. `changes` contains only row numbers: it shows
that something was erased, but not what.
"""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

BUILDING, LIVE, OLD = "building", "live", "old"
"""States of a generation: being built, answering, kept for a rollback."""
ENROLLED, ERASED = "enrolled", "erased"
"""Kinds of change to a sample."""

KEEP, EMBEDDINGS_ONLY = "keep", "embeddings-only"
"""Retentions: keep silhouettes, so that another model can embed them, or never store any."""

TABLES = MetaData()

# Sorted bytewise by every database, so that pages of subjects are the same everywhere.
_SUBJECT = String(128).with_variant(String(128, collation="C"), "postgresql")
# Every search is a row: 50 a second fill 32 bits in 16 months, and no write would be possible then.
_ROW_OF_LOG = BigInteger().with_variant(Integer, "sqlite")


def _parent(column: str) -> ForeignKey:
    return ForeignKey(column, ondelete="CASCADE")


# Read only by version 0.1.0, to refuse stores that are too new for it.
schema_version = Table("schema_version", TABLES, Column("version", Integer, primary_key=True))

galleries = Table(
    "galleries",
    TABLES,
    Column("id", Integer, primary_key=True),
    Column("name", String(128), nullable=False, unique=True),
    # Incremented by every write that an index must follow.
    Column("changes", Integer, nullable=False),
    Column("retention", String(16), nullable=False, server_default=KEEP),
    # The last row of the audit log, which reveals a log that was truncated.
    Column("audit_number", _ROW_OF_LOG, nullable=False, server_default="0"),
    Column("audit_hash", String(64), nullable=False, server_default=""),
    # `gallery.settings` reads and changes these together with the retention.
    Column("aggregation", String(16), nullable=False, server_default="nearest"),
    Column("nearest_samples", Integer, nullable=False, server_default="3"),
    Column("conflict", String(16), nullable=False, server_default="report"),
    # Always set explicitly: this default is from an earlier step, when there was no choice.
    Column("index_kind", String(16), nullable=False, server_default="exact"),
    # A deleted gallery's row stays, because its audit log and receipts do.
    Column("deleted_at", String(32)),
)

generations = Table(
    "generations",
    TABLES,
    Column("id", Integer, primary_key=True),
    Column("gallery", _parent("galleries.id"), nullable=False),
    Column("model_id", String(256), nullable=False),
    Column("embedding_length", Integer, nullable=False),
    Column("state", String(16), CheckConstraint("state IN ('building', 'live', 'old')")),
    # The change number at which it stopped being live; a rollback goes to the latest. A generation
    # that was dropped afterwards is in the state building again, empty, and keeps it.
    Column("retired", Integer),
    Column("created_at", String(32), nullable=False),
    # Null: nobody kept the model's file, so a running service cannot open it by itself.
    Column("model_sha256", String(64)),
    UniqueConstraint("gallery", "model_id", "embedding_length"),
    sqlite_autoincrement=True,
)

subjects = Table(
    "subjects",
    TABLES,
    Column("id", Integer, primary_key=True),
    Column("gallery", _parent("galleries.id"), nullable=False),
    Column("subject", _SUBJECT, nullable=False),
    Column("created_at", String(32), nullable=False),
    # A random name that the audit log uses; after an erasure nobody can map it to the subject.
    Column("token", String(32), nullable=False, server_default="", unique=True, index=True),
    # Null: this subject's silhouettes and embeddings are not encrypted.
    Column("wrapped_key", LargeBinary),
    UniqueConstraint("gallery", "subject"),
)

samples = Table(
    "samples",
    TABLES,
    Column("id", Integer, primary_key=True),
    Column("sample_id", String(32), nullable=False),
    Column("gallery", _parent("galleries.id"), nullable=False),
    Column("subject", _parent("subjects.id"), nullable=False, index=True),
    Column("created_at", String(32), nullable=False),
    Column("frames", Integer, nullable=False),
    Column("metadata", Text, nullable=False),
    Column("captured_at", String(32)),
    UniqueConstraint("gallery", "sample_id"),
    # Never reuse a number: an index that still holds an erased row would return another sample.
    sqlite_autoincrement=True,
)

silhouettes = Table(
    "silhouettes",
    TABLES,
    Column("sample", _parent("samples.id"), primary_key=True, autoincrement=False),
    Column("format", String(32), nullable=False),
    Column("frames", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("width", Integer, nullable=False),
    Column("data", LargeBinary, nullable=False),
)

embeddings = Table(
    "embeddings",
    TABLES,
    Column("generation", _parent("generations.id"), primary_key=True, autoincrement=False),
    Column("sample", _parent("samples.id"), primary_key=True, autoincrement=False, index=True),
    Column("vector", LargeBinary, nullable=False),
)

changes = Table(
    "changes",
    TABLES,
    Column("gallery", _parent("galleries.id"), primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("sample", Integer, primary_key=True, autoincrement=False),
    Column("kind", String(16), nullable=False),
)

consents = Table(
    "consents",
    TABLES,
    Column("id", Integer, primary_key=True),
    Column("subject", _parent("subjects.id"), nullable=False, index=True),
    # Null: the consent covers everything of the subject.
    Column("sample", _parent("samples.id"), index=True),
    Column("basis", String(64), nullable=False),
    Column("reference", String(256)),
    Column("expires", String(32), index=True),
    Column("recorded_at", String(32), nullable=False),
)

master_keys = Table(
    "master_keys",
    TABLES,
    Column("fingerprint", String(32), primary_key=True),
    Column("created_at", String(32), nullable=False),
)

receipts = Table(
    "receipts",
    TABLES,
    Column("id", String(32), primary_key=True),
    Column("gallery", _parent("galleries.id"), nullable=False, index=True),
    Column("created_at", String(32), nullable=False),
    Column("body", Text, nullable=False),
)

audit = Table(
    "audit",
    TABLES,
    Column("gallery", _parent("galleries.id"), primary_key=True, autoincrement=False),
    Column("number", _ROW_OF_LOG, primary_key=True, autoincrement=False),
    Column("at", String(32), nullable=False),
    Column("actor", String(128), nullable=False),
    Column("action", String(32), nullable=False),
    Column("generation", Integer, nullable=False),
    Column("outcome", String(32), nullable=False),
    Column("subject", String(32)),
    Column("counts", Text, nullable=False),
    Column("previous", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
)

calibrations = Table(
    "calibrations",
    TABLES,
    Column("generation", _parent("generations.id"), primary_key=True, autoincrement=False),
    Column("created_at", String(32), nullable=False),
    Column("body", Text, nullable=False),
)

jobs = Table(
    "jobs",
    TABLES,
    Column("id", String(32), primary_key=True),
    Column("gallery", _parent("galleries.id"), nullable=False, index=True),
    Column("kind", String(16), nullable=False),
    Column("model_id", String(256), nullable=False),
    Column("state", String(16), nullable=False),
    Column("done", Integer, nullable=False),
    Column("total", Integer, nullable=False),
    Column("message", Text, nullable=False),
    Column("created_at", String(32), nullable=False),
    Column("updated_at", String(32), nullable=False),
    # The last row of the audit log when it began: a switch recorded after that overtakes it. Null:
    # a starting service does not continue it.
    Column("audit_number", _ROW_OF_LOG),
)

# One row in a restored store, otherwise none. It is part of the names under which an index stores
# data outside: two stores with the same rows must not write to the same place.
identities = Table("identities", TABLES, Column("identity", String(32), primary_key=True))

# Who may call the service; not tied to a gallery, because a key may be for several.
api_keys = Table(
    "api_keys",
    TABLES,
    Column("key_id", String(12), primary_key=True),
    Column("name", String(64), nullable=False),
    # SHA-256 of the secret; gallery/keys.py explains why no slower hash is needed.
    Column("digest", String(64), nullable=False),
    # JSON lists of names; null galleries means all.
    Column("scopes", Text, nullable=False),
    Column("galleries", Text),
    Column("per_minute", Integer),
    Column("created_at", String(32), nullable=False),
    Column("expires_at", String(32)),
    Column("revoked_at", String(32)),
)
