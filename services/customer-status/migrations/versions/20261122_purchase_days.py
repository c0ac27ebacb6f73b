"""The days on which each member lately bought something: what segments are counted from, one row a member.

Stop the worker before: one of the version before leaves the new columns as they are, and `verify` finds it. Every
member's row is written once; the space of the old ones comes back with the next vacuum.
"""

import sqlalchemy as sa
from alembic import op

revision = "20261122_purchase_days"
down_revision = "20261122_contacts"

# As tiers/purchase_days.py does it; here for all members at once.
WORK_OUT = """
    WITH bought AS (
        SELECT account_no, civil_date, max(civil_date) OVER (PARTITION BY account_no) AS last_date,
            CASE WHEN returned_completely THEN 0 ELSE greatest(0, total_cents - returned_total_cents) END AS cents
        FROM purchase
    ),
    day AS (
        SELECT account_no, civil_date, sum(cents) AS cents FROM bought
        WHERE civil_date >= last_date - 460 GROUP BY account_no, civil_date HAVING sum(cents) > 0
    ),
    running AS (
        SELECT account_no, civil_date - date '1970-01-01' AS day,
            sum(cents) OVER (PARTITION BY account_no ORDER BY civil_date)::bigint AS kept_cents,
            dense_rank() OVER (PARTITION BY account_no ORDER BY date_trunc('month', civil_date))::smallint AS months
        FROM day
    ),
    listed AS (
        SELECT account_no, array_agg(day ORDER BY day) AS days, array_agg(kept_cents ORDER BY day) AS kept_cents,
            array_agg(months ORDER BY day) AS months
        FROM running GROUP BY account_no
    ),
    purchases AS (
        SELECT account_no, min(civil_date) AS bought_from, max(civil_date) AS bought_until FROM purchase GROUP BY 1
    ),
    returns AS (
        SELECT account_no, min(civil_date) AS returned_from, max(civil_date) AS returned_until
        FROM purchase_return GROUP BY 1
    )
    UPDATE member
    SET first_event_day = least(bought_from, returned_from) - date '1970-01-01',
        last_purchase_day = bought_until - date '1970-01-01',
        last_return_day = returned_until - date '1970-01-01',
        purchase_days = coalesce(listed.days, '{}'),
        kept_cents = coalesce(listed.kept_cents, '{}'),
        purchase_months = coalesce(listed.months, '{}')
    FROM member AS each
        LEFT JOIN purchases USING (account_no)
        LEFT JOIN returns USING (account_no)
        LEFT JOIN listed USING (account_no)
    WHERE member.account_no = each.account_no AND (bought_from IS NOT NULL OR returned_from IS NOT NULL)"""


def upgrade() -> None:
    """Add the columns, and work out those of the members there are from what they bought and gave back."""
    for name, comment in (
        ("first_event_day", "civil day of the earliest purchase or return"),
        ("last_purchase_day", "civil day of the latest purchase"),
        ("last_return_day", "civil day of the latest return"),
    ):
        op.add_column("member", sa.Column(name, sa.Integer(), comment=comment))
    for name, kind, comment in (
        ("purchase_days", sa.Integer(), "civil days lately with a purchase of which something remains"),
        ("kept_cents", sa.BigInteger(), "what remains of the purchases of these days up to each, of all classes"),
        ("purchase_months", sa.SmallInteger(), "calendar months that these days up to each are in"),
    ):
        op.add_column("member", sa.Column(name, sa.ARRAY(kind), nullable=False, server_default="{}", comment=comment))
    op.execute(WORK_OUT)
