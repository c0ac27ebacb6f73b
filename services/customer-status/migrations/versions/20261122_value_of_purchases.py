"""The civil date and the cents of all classes of purchases and returns: what lifecycle and revenue are counted from.

Stop the worker before: one of the version before writes rows without these columns, which is refused from here on.
Every row is written once; the space of the old ones comes back with the next vacuum.
"""

import sqlalchemy as sa
from alembic import op
from eventing.migrations import app_role

revision = "20261122_value_of_purchases"
down_revision = "20261122_terms"

CIVIL_DATE = "(occurred_at AT TIME ZONE 'Europe/Berlin')::date"
TOTAL_CENTS = "(SELECT coalesce(sum(value::bigint), 0) FROM jsonb_each_text(cents_by_class))"


def upgrade() -> None:
    """Add the columns, and work out those of the rows there are from what these say."""
    for table in ("purchase", "purchase_return"):
        _add(table, "civil_date", sa.Date(), "of occurred_at in Europe/Berlin")
        _add(table, "total_cents", sa.Integer(), "of all classes")
    _add("purchase", "returned_total_cents", sa.BigInteger(), "cents of all classes of its returns")
    op.execute(f"UPDATE purchase_return SET civil_date = {CIVIL_DATE}, total_cents = {TOTAL_CENTS}")
    op.execute(f"UPDATE purchase SET civil_date = {CIVIL_DATE}, total_cents = {TOTAL_CENTS}, returned_total_cents = 0")
    op.execute(
        """
        UPDATE purchase SET returned_total_cents = back.cents
        FROM (SELECT account_no, purchase_id, sum(total_cents) AS cents FROM purchase_return GROUP BY 1, 2) AS back
        WHERE purchase.account_no = back.account_no AND purchase.purchase_id = back.purchase_id"""
    )
    for table in ("purchase", "purchase_return"):
        op.alter_column(table, "civil_date", nullable=False)
        op.alter_column(table, "total_cents", nullable=False)
    op.alter_column("purchase", "returned_total_cents", nullable=False)
    op.execute(f"GRANT UPDATE (returned_total_cents) ON purchase TO {app_role()}")


def _add(table: str, name: str, kind: sa.Date | sa.Integer, comment: str) -> None:
    op.add_column(table, sa.Column(name, kind, comment=comment))
