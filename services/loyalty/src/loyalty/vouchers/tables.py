"""Vouchers, and their reservations and redemptions through the API.

A voucher's code is in no table: it is derived from `voucher_no` under a key kept outside the database.
"""

import sqlalchemy as sa


def voucher_tables(metadata: sa.MetaData) -> None:
    """Add the tables of the vouchers feature to `metadata`."""
    sa.Table(
        "voucher",
        metadata,
        sa.Column("voucher_no", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column(
            "voucher_id",
            sa.Text(collation="C"),
            nullable=False,
            unique=True,
            comment="rules 3.10: from its code's SHA-256",
        ),
        sa.Column("key_version", sa.Integer, nullable=False),
        sa.Column("account_no", sa.BigInteger, nullable=False, index=True, comment="the owner's"),
        sa.Column("reward", sa.Text, nullable=False),
        sa.Column("value_cents", sa.BigInteger, nullable=False),
        sa.Column("points", sa.BigInteger, nullable=False, comment="points a use of it costs"),
        sa.Column("issued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "valid_until",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="the first instant it is no longer valid",
        ),
        sa.Column("posted_points", sa.BigInteger, nullable=False, comment="debited for it, less given back"),
        sa.Column("cancelled_at", sa.DateTime(timezone=True)),
        sa.Column("notice_due_at", sa.DateTime(timezone=True), comment="when its end is to be told next; null: not"),
        sa.Column("expiring_told_for", sa.DateTime(timezone=True), comment="the end that was told before it came"),
        sa.Column("expired_told_for", sa.DateTime(timezone=True), comment="the end that was told when it had come"),
        sa.Index("voucher_key_versions", "key_version", "voucher_no"),
        sa.Index("voucher_notice_due", "notice_due_at", postgresql_where=sa.text("notice_due_at IS NOT NULL")),
    )
    sa.Table(
        "voucher_redemption",
        metadata,
        sa.Column("voucher_no", sa.BigInteger, primary_key=True),
        sa.Column("purchase_id", sa.Text(collation="C"), primary_key=True),
        sa.Column("redeemed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Index("voucher_redemption_one_a_purchase", "purchase_id", unique=True),
    )
    sa.Table(
        "voucher_undone",
        metadata,
        sa.Column("undone_no", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("voucher_no", sa.BigInteger, nullable=False, index=True),
        sa.Column("purchase_id", sa.Text(collation="C"), nullable=False),
        sa.Column("redeemed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("undone_at", sa.DateTime(timezone=True), nullable=False),
        comment="redemptions that were taken back",
    )
    sa.Table(
        "voucher_reservation",
        metadata,
        sa.Column("voucher_no", sa.BigInteger, primary_key=True),
        sa.Column("purchase_id", sa.Text(collation="C"), nullable=False),
        sa.Column("reserved_until", sa.DateTime(timezone=True), nullable=False),
        sa.Index("voucher_reservation_one_a_purchase", "purchase_id", unique=True),
    )
