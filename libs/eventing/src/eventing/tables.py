"""The three tables every service that takes part has in its own database, and that of dated documents.

Migrations create them; code only reads and writes them, without this module: SQLAlchemy takes half a second to load.
"""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB


def event_tables(metadata: sa.MetaData) -> None:
    """Defines event_progress, dead_letter and outbox in `metadata`, for migrations to be compared with."""
    _event_progress(metadata)
    _dead_letter(metadata)
    _outbox(metadata)


def dated_documents_table(metadata: sa.MetaData, name: str) -> None:
    """Defines a table for `dated_documents` in `metadata`, for migrations to be compared with."""
    sa.Table(
        name,
        metadata,
        sa.Column("valid_from", sa.Date, primary_key=True),
        sa.Column("content", JSONB, nullable=False),
        sa.Column("first_used_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.func.now()),
    )


def forgotten_tables(metadata: sa.MetaData) -> None:
    """Defines the tables of `eventing.forgotten`: what services that erase people keep of them."""
    sa.Table(
        "forgotten",
        metadata,
        sa.Column("key_hash", sa.LargeBinary, primary_key=True, comment="HMAC of the key of events"),
        _timestamp("forgotten_at", default_now=True),
    )
    sa.Table("forgotten_check", metadata, sa.Column("secret_check", sa.LargeBinary, primary_key=True))


def _timestamp(name: str, *, nullable: bool = False, default_now: bool = False) -> sa.Column[object]:
    default = sa.text("now()") if default_now else None
    return sa.Column(name, sa.TIMESTAMP(timezone=True), nullable=nullable, server_default=default)


def _event_progress(metadata: sa.MetaData) -> None:
    sa.Table(
        "event_progress",
        metadata,
        sa.Column("topic", sa.Text, primary_key=True),
        sa.Column("partition", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("next_offset", sa.BigInteger, nullable=False),
        sa.Column("failures_in_row", sa.Integer, nullable=False, server_default=sa.text("0")),
        _timestamp("paused_at", nullable=True),
        sa.Column("paused_reason", sa.Text),
    )


def _dead_letter(metadata: sa.MetaData) -> None:
    sa.Table(
        "dead_letter",
        metadata,
        sa.Column("dead_letter_id", sa.BigInteger, sa.Identity(always=True, cache=1), primary_key=True),
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("partition", sa.Integer, nullable=False),
        sa.Column("record_offset", sa.BigInteger, nullable=False),
        _timestamp("received_at"),
        sa.Column("key", sa.LargeBinary),
        sa.Column("value", sa.LargeBinary),
        sa.Column("headers", JSONB, nullable=False),
        sa.Column("event_id", sa.Text),
        sa.Column("event_type", sa.Text),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False, server_default=sa.text("'open'")),
        _timestamp("created_at", default_now=True),
        _timestamp("decided_at", nullable=True),
        sa.UniqueConstraint("topic", "partition", "record_offset", name="dead_letter_record_key"),
        sa.CheckConstraint("state IN ('open', 'retried', 'discarded')", name="dead_letter_state_check"),
    )


def _outbox(metadata: sa.MetaData) -> None:
    # cache=1: a cached range of ids would break "id order is commit order of whoever holds the same locks".
    sa.Table(
        "outbox",
        metadata,
        sa.Column("outbox_id", sa.BigInteger, sa.Identity(always=True, cache=1), primary_key=True),
        sa.Column("messages", sa.LargeBinary, nullable=False),
        sa.Column("message_count", sa.Integer, nullable=False),
        _timestamp("created_at", default_now=True),
    )
