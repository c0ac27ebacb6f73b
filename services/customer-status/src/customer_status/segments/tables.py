"""Snapshots of the segments: who was what on a date, by what was known when it was taken."""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg


def segments_tables(metadata: sa.MetaData) -> None:
    """Add the tables of the segments feature to `metadata`."""
    sa.Table(
        "segment_snapshot",
        metadata,
        sa.Column("snapshot_date", sa.Date, primary_key=True),
        sa.Column("segments", pg.JSONB, nullable=False, comment="members and revenue by level, lifecycle, ABC class"),
        sa.Column("digest", sa.Text, nullable=False, comment="SHA-256 of the snapshot as CSV"),
        sa.Column("taken_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    )
    sa.Table(
        "segment_snapshot_member",
        metadata,
        sa.Column("snapshot_date", sa.Date, primary_key=True),
        sa.Column("account_no", sa.BigInteger, primary_key=True),
        sa.Column("level", sa.Text, nullable=False),
        sa.Column("lifecycle", sa.Text, nullable=False),
        sa.Column("abc", sa.Text, comment="null: no revenue"),
        sa.Column("revenue_cents", sa.BigInteger, nullable=False),
    )
