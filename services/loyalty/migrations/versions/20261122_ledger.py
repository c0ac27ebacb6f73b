"""Accounts, positions, returns, the ledger and vouchers."""

import sqlalchemy as sa
from alembic import op
from eventing.migrations import app_role
from sqlalchemy.dialects import postgresql as pg

revision = "20261122_ledger"
down_revision = "20261122_plumbing"
branch_labels = None
depends_on = None


SUMS = "returned_cents, returned_completely, bonus_percent, posted_points"
"""What may change of a purchase; the rest are facts."""


def upgrade() -> None:
    """Create them. The application has no UPDATE or DELETE on the ledger: its rows are only ever added."""
    _create_account()
    _create_ledger_entry()
    _create_purchase_position()
    _create_purchase_return()
    _create_voucher()
    _create_voucher_redemption()
    role = app_role()
    for table, rights in (
        ("account", "SELECT, INSERT, UPDATE"),
        ("purchase_position", f"SELECT, INSERT, UPDATE ({SUMS})"),
        ("purchase_return", "SELECT, INSERT"),
        ("ledger_entry", "SELECT, INSERT"),
        ("voucher", "SELECT, INSERT"),
        ("voucher_redemption", "SELECT, INSERT"),
    ):
        op.execute(f"GRANT {rights} ON {table} TO {role}")
    op.execute(f"GRANT USAGE ON SEQUENCE voucher_voucher_no_seq TO {role}")


def _create_account() -> None:
    op.create_table(
        "account",
        sa.Column("account_no", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("member_id", sa.Text(collation="C"), nullable=True, comment="null once the member is erased"),
        sa.Column("joined_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "balance_points",
            sa.BigInteger(),
            server_default="0",
            nullable=False,
            comment="sum of the entries",
        ),
        sa.Column(
            "expired_points",
            sa.BigInteger(),
            server_default="0",
            nullable=False,
            comment="expiry posted so far",
        ),
        sa.Column("last_entry_no", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("last_event_no", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column(
            "points_by_year",
            pg.JSONB(),
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
            comment="civil year -> [points earned by its purchases, points debited in it], for expiry",
        ),
        sa.Column(
            "last_purchase_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="latest occurred_at of its purchases",
        ),
        sa.Column("waiting_returns", sa.Integer(), server_default="0", nullable=False),
        sa.Column(
            "timeline",
            pg.JSONB(),
            nullable=True,
            comment="steps as customer-status published them; null: none yet",
        ),
        sa.Column("timeline_generation", sa.Integer(), server_default="0", nullable=False),
        sa.Column("timeline_events", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("account_no"),
        sa.UniqueConstraint("member_id"),
        postgresql_with={"fillfactor": 80},
    )


def _create_ledger_entry() -> None:
    op.create_table(
        "ledger_entry",
        sa.Column("account_no", sa.BigInteger(), nullable=False),
        sa.Column("entry_no", sa.BigInteger(), nullable=False, comment="1, 2, 3 ... without a gap in each account"),
        sa.Column("posted_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("points", sa.BigInteger(), nullable=False, comment="signed change of the balance, never 0"),
        sa.Column("purchase_id", sa.Text(collation="C"), nullable=True),
        sa.Column(
            "cause_id",
            sa.Text(),
            nullable=True,
            comment="what caused it: return_id, timeline version, voucher_id, year",
        ),
        sa.CheckConstraint("kind IN ('purchase', 'return', 'level', 'reward', 'expiry')", name="ledger_entry_kind"),
        sa.CheckConstraint("points <> 0", name="ledger_entry_changes_the_balance"),
        sa.PrimaryKeyConstraint("account_no", "entry_no"),
    )


def _create_purchase_position() -> None:
    op.create_table(
        "purchase_position",
        sa.Column("account_no", sa.BigInteger(), nullable=False),
        sa.Column("purchase_id", sa.Text(collation="C"), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False, comment="the record's stamp in the log"),
        sa.Column("cents_by_class", pg.JSONB(), nullable=False),
        sa.Column("vouchers", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("eligible_cents", sa.BigInteger(), nullable=False),
        sa.Column("returned_cents", sa.BigInteger(), nullable=False, comment="eligible cents of all its returns"),
        sa.Column("returned_completely", sa.Boolean(), nullable=False),
        sa.Column("bonus_percent", sa.Integer(), nullable=False),
        sa.Column("posted_points", sa.BigInteger(), nullable=False, comment="sum of its entries"),
        sa.PrimaryKeyConstraint("account_no", "purchase_id"),
    )


def _create_purchase_return() -> None:
    op.create_table(
        "purchase_return",
        sa.Column("account_no", sa.BigInteger(), nullable=False),
        sa.Column("return_id", sa.Text(collation="C"), nullable=False),
        sa.Column("purchase_id", sa.Text(collation="C"), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("cents_by_class", pg.JSONB(), nullable=False),
        sa.Column("complete", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("account_no", "return_id"),
    )
    op.create_index("purchase_return_of_purchase", "purchase_return", ["account_no", "purchase_id"], unique=False)


def _create_voucher() -> None:
    op.create_table(
        "voucher",
        sa.Column("voucher_no", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column(
            "voucher_id",
            sa.Text(collation="C"),
            nullable=False,
            comment="rules 3.10: from its code's SHA-256",
        ),
        sa.Column("key_version", sa.Integer(), nullable=False),
        sa.Column("account_no", sa.BigInteger(), nullable=False, comment="the owner's"),
        sa.Column("reward", sa.Text(), nullable=False),
        sa.Column("value_cents", sa.BigInteger(), nullable=False),
        sa.Column("points", sa.BigInteger(), nullable=False, comment="points a use of it costs"),
        sa.Column("issued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "valid_until",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="the first instant it is no longer valid",
        ),
        sa.PrimaryKeyConstraint("voucher_no"),
        sa.UniqueConstraint("voucher_id"),
    )
    op.create_index("ix_voucher_account_no", "voucher", ["account_no"], unique=False)


def _create_voucher_redemption() -> None:
    op.create_table(
        "voucher_redemption",
        sa.Column("voucher_no", sa.BigInteger(), nullable=False),
        sa.Column("purchase_id", sa.Text(collation="C"), nullable=False),
        sa.Column("redeemed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("voucher_no", "purchase_id"),
    )
    op.create_index("voucher_redemption_one_a_purchase", "voucher_redemption", ["purchase_id"], unique=True)
