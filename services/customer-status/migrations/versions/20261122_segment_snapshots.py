"""Snapshots of segments, and who looks after a key account."""

import sqlalchemy as sa
from alembic import op
from eventing.migrations import app_role
from sqlalchemy.dialects import postgresql as pg

revision = "20261122_segment_snapshots"
down_revision = "20261122_value_of_purchases"


def upgrade() -> None:
    """Create the tables. A snapshot that is taken again replaces the one there was."""
    op.create_table(
        "segment_snapshot",
        sa.Column("snapshot_date", sa.Date(), primary_key=True),
        sa.Column("segments", pg.JSONB(), nullable=False, comment="members and revenue by level, lifecycle, ABC class"),
        sa.Column("digest", sa.Text(), nullable=False, comment="SHA-256 of the snapshot as CSV"),
        sa.Column("taken_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
    )
    op.create_table(
        "segment_snapshot_member",
        sa.Column("snapshot_date", sa.Date(), primary_key=True),
        sa.Column("account_no", sa.BigInteger(), primary_key=True),
        sa.Column("level", sa.Text(), nullable=False),
        sa.Column("lifecycle", sa.Text(), nullable=False),
        sa.Column("abc", sa.Text(), comment="null: no revenue"),
        sa.Column("revenue_cents", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "contact_person",
        sa.Column("account_no", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("email", sa.Text()),
        sa.Column("assigned_by", sa.Text(), nullable=False, comment="who told so: caller, and its subject"),
        sa.Column("assigned_at", sa.DateTime(timezone=True), nullable=False),
    )
    for table in ("segment_snapshot", "segment_snapshot_member", "contact_person"):
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {app_role()}")
