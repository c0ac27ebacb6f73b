"""What uses of vouchers cost, how far expiry is posted, and the level behind an entry."""

import sqlalchemy as sa
from alembic import op
from eventing.migrations import app_role

revision = "20261122_voucher_uses"
down_revision = "20261122_ledger"
branch_labels = None
depends_on = None

KINDS = ("purchase", "return", "level", "reward", "voucher", "expiry", "rebuild")


def upgrade() -> None:
    """Add them. Every voucher there is has cost what its issue took."""
    _add_posted_points_of_vouchers()
    _add_uses_by_purchases()
    _add_expiry_year()
    op.add_column(
        "ledger_entry", sa.Column("level", sa.Text(), nullable=True, comment="kind level: what rates the purchase now")
    )
    op.drop_constraint("ledger_entry_kind", "ledger_entry")
    op.create_check_constraint("ledger_entry_kind", "ledger_entry", f"kind IN {KINDS}")


def _add_posted_points_of_vouchers() -> None:
    op.add_column("voucher", sa.Column("posted_points", sa.BigInteger(), comment="debited for it, less given back"))
    op.execute("UPDATE voucher SET posted_points = points")
    op.alter_column("voucher", "posted_points", nullable=False)
    op.add_column("voucher", sa.Column("cancelled_at", sa.DateTime(timezone=True)))
    op.execute(f"GRANT UPDATE (posted_points, cancelled_at) ON voucher TO {app_role()}")


def _add_uses_by_purchases() -> None:
    """Partial: the purchases that name no voucher, nearly all, cost nothing in it."""
    op.create_index(
        "purchase_position_naming_vouchers",
        "purchase_position",
        ["vouchers"],
        postgresql_using="gin",
        postgresql_where=sa.text("vouchers <> '{}'::text[]"),
        postgresql_with={"fastupdate": "off"},
    )


def _add_expiry_year() -> None:
    """0 for the accounts there are, whose expiry was posted only by spending; a new one has nothing to post."""
    comment = "the year whose 1 January is the last one up to which expiry is posted"
    op.add_column(
        "account", sa.Column("expiry_year", sa.Integer(), server_default="0", nullable=False, comment=comment)
    )
    this_year = sa.text("extract(year FROM now() AT TIME ZONE 'Europe/Berlin')::int")
    op.alter_column("account", "expiry_year", server_default=this_year)
