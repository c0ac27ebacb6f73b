"""Adjustments by staff, those that wait for a second person too."""

import sqlalchemy as sa

from loyalty.adjustments.domain import REASONS, STATES


def adjustment_tables(metadata: sa.MetaData) -> None:
    """Add the table of the adjustments feature to `metadata`."""
    sa.Table(
        "adjustment",
        metadata,
        sa.Column("adjustment_id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("account_no", sa.BigInteger, nullable=False, index=True),
        sa.Column("points", sa.BigInteger, nullable=False, comment="signed, never 0"),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("text", sa.Text, comment="null once the member is erased"),
        sa.Column("requested_by_client", sa.Text, nullable=False),
        sa.Column("requested_by_subject", sa.Text),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("decided_by_client", sa.Text, comment="null: posted at once, or rejected because of an erasure"),
        sa.Column("decided_by_subject", sa.Text),
        sa.Column("decided_at", sa.DateTime(timezone=True), comment="when it was posted or rejected"),
        sa.CheckConstraint("points <> 0", name="adjustment_changes_the_balance"),
        sa.CheckConstraint(f"reason IN ({_quoted(REASONS)})", name="adjustment_reason"),
        sa.CheckConstraint(f"state IN ({_quoted(STATES)})", name="adjustment_state"),
        sa.CheckConstraint("(state = 'pending') = (decided_at IS NULL)", name="adjustment_decided_at"),
        sa.Index("adjustment_pending", "adjustment_id", postgresql_where=sa.text("state = 'pending'")),
    )


def _quoted(names: tuple[str, ...]) -> str:
    return ", ".join(f"'{name}'" for name in names)
