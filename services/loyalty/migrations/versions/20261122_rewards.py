"""Products for points, reservations, redemptions that were undone, and what was told of ends."""

import sqlalchemy as sa
from alembic import op
from eventing.migrations import app_role

revision = "20261122_rewards"
down_revision = "20261122_adjustments"
branch_labels = None
depends_on = None

KINDS = ("purchase", "return", "level", "reward", "voucher", "product", "adjustment", "expiry", "rebuild")
TIMESTAMP = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create them. A redemption that is undone moves to a table of its own: processes of the version before count what
    is in `voucher_redemption`, and are right.
    """
    _create_product_order()
    _create_voucher_undone()
    _create_voucher_reservation()
    _add_notices()
    op.drop_constraint("ledger_entry_kind", "ledger_entry")
    op.create_check_constraint("ledger_entry_kind", "ledger_entry", f"kind IN {KINDS}")
    op.alter_column(
        "ledger_entry",
        "cause_id",
        comment="what caused it: return_id, timeline version, voucher_id, order_id, year",
        existing_comment="what caused it: return_id, timeline version, voucher_id, year",
    )


def _create_product_order() -> None:
    op.create_table(
        "product_order",
        sa.Column("order_no", sa.BigInteger(), sa.Identity(always=True), primary_key=True),
        sa.Column("account_no", sa.BigInteger(), nullable=False),
        sa.Column("reward", sa.Text(), nullable=False),
        sa.Column("sku", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("points", sa.BigInteger(), nullable=False, comment="debited for it"),
        sa.Column("ordered_at", TIMESTAMP, nullable=False),
    )
    op.create_index("ix_product_order_account_no", "product_order", ["account_no"])
    op.execute(f"GRANT SELECT, INSERT ON product_order TO {app_role()}")


def _create_voucher_undone() -> None:
    op.create_table(
        "voucher_undone",
        sa.Column("undone_no", sa.BigInteger(), sa.Identity(always=True), primary_key=True),
        sa.Column("voucher_no", sa.BigInteger(), nullable=False),
        sa.Column("purchase_id", sa.Text(collation="C"), nullable=False),
        sa.Column("redeemed_at", TIMESTAMP, nullable=False),
        sa.Column("undone_at", TIMESTAMP, nullable=False),
        comment="redemptions that were taken back",
    )
    op.create_index("ix_voucher_undone_voucher_no", "voucher_undone", ["voucher_no"])
    op.execute(f"GRANT SELECT, INSERT ON voucher_undone TO {app_role()}")
    op.execute(f"GRANT DELETE ON voucher_redemption TO {app_role()}")


def _create_voucher_reservation() -> None:
    op.create_table(
        "voucher_reservation",
        sa.Column("voucher_no", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("purchase_id", sa.Text(collation="C"), nullable=False),
        sa.Column("reserved_until", TIMESTAMP, nullable=False),
    )
    op.create_index("voucher_reservation_one_a_purchase", "voucher_reservation", ["purchase_id"], unique=True)
    op.execute(f"GRANT SELECT, INSERT, DELETE ON voucher_reservation TO {app_role()}")


def _add_notices() -> None:
    """The job looks at every voucher there is once, and finds out when to look again."""
    columns = {
        "notice_due_at": "when its end is to be told next; null: not",
        "expiring_told_for": "the end that was told before it came",
        "expired_told_for": "the end that was told when it had come",
    }
    for name, comment in columns.items():
        op.add_column("voucher", sa.Column(name, TIMESTAMP, comment=comment))
    op.execute("UPDATE voucher SET notice_due_at = issued_at")
    op.create_index(
        "voucher_notice_due", "voucher", ["notice_due_at"], postgresql_where=sa.text("notice_due_at IS NOT NULL")
    )
    op.execute(f"GRANT UPDATE ({', '.join(columns)}) ON voucher TO {app_role()}")
    comment = "the year at whose 1 January points are lost that was told last"
    op.add_column(
        "account", sa.Column("expiring_told_year", sa.Integer(), server_default="0", nullable=False, comment=comment)
    )
