"""Products that points bought. What a voucher is has tables of its own."""

import sqlalchemy as sa


def reward_tables(metadata: sa.MetaData) -> None:
    """Add the tables of the rewards feature to `metadata`."""
    sa.Table(
        "product_order",
        metadata,
        sa.Column("order_no", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("account_no", sa.BigInteger, nullable=False, index=True),
        sa.Column("reward", sa.Text, nullable=False),
        sa.Column("sku", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("points", sa.BigInteger, nullable=False, comment="debited for it"),
        sa.Column("ordered_at", sa.DateTime(timezone=True), nullable=False),
    )
