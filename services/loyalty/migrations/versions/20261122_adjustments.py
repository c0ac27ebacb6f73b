"""Adjustments by staff, and the entries they make."""

import sqlalchemy as sa
from alembic import op
from eventing.migrations import app_role

revision = "20261122_adjustments"
down_revision = "20261122_terms"

KINDS = ("purchase", "return", "level", "reward", "voucher", "adjustment", "expiry", "rebuild")


def upgrade() -> None:
    """Create the table. Of an adjustment only the decision changes, and its text goes with the member."""
    op.create_table(
        "adjustment",
        sa.Column("adjustment_id", sa.BigInteger(), sa.Identity(always=True), primary_key=True),
        sa.Column("account_no", sa.BigInteger(), nullable=False),
        sa.Column("points", sa.BigInteger(), nullable=False, comment="signed, never 0"),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), comment="null once the member is erased"),
        sa.Column("requested_by_client", sa.Text(), nullable=False),
        sa.Column("requested_by_subject", sa.Text()),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("decided_by_client", sa.Text(), comment="null: posted at once, or rejected because of an erasure"),
        sa.Column("decided_by_subject", sa.Text()),
        sa.Column("decided_at", sa.DateTime(timezone=True), comment="when it was posted or rejected"),
        sa.CheckConstraint("points <> 0", name="adjustment_changes_the_balance"),
        sa.CheckConstraint("reason IN ('goodwill', 'correction', 'complaint', 'migration')", name="adjustment_reason"),
        sa.CheckConstraint("state IN ('pending', 'posted', 'rejected')", name="adjustment_state"),
        sa.CheckConstraint("(state = 'pending') = (decided_at IS NULL)", name="adjustment_decided_at"),
    )
    op.create_index("ix_adjustment_account_no", "adjustment", ["account_no"])
    op.create_index(
        "adjustment_pending", "adjustment", ["adjustment_id"], postgresql_where=sa.text("state = 'pending'")
    )
    decision = "state, decided_at, decided_by_client, decided_by_subject, text"
    op.execute(f"GRANT SELECT, INSERT, UPDATE ({decision}) ON adjustment TO {app_role()}")
    op.drop_constraint("ledger_entry_kind", "ledger_entry")
    op.create_check_constraint("ledger_entry_kind", "ledger_entry", f"kind IN {KINDS}")
