"""Accounts, positions, returns and the ledger.

No foreign keys between the hot tables: they cost a third of the posting rate, and `loyalty verify` checks what
they would. An account's rows refer to `account_no` only, so erasing a member cuts one link.
"""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

ENTRY_KINDS = ("purchase", "return", "level", "reward", "voucher", "product", "adjustment", "expiry", "rebuild")


def points_tables(metadata: sa.MetaData) -> None:
    """Add the tables of the points feature to `metadata`."""
    _account(metadata)
    _purchase_position(metadata)
    _purchase_return(metadata)
    _ledger_entry(metadata)


def _account(metadata: sa.MetaData) -> None:
    sa.Table(
        "account",
        metadata,
        sa.Column("account_no", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("member_id", sa.Text(collation="C"), unique=True, comment="null once the member is erased"),
        sa.Column("joined_at", sa.DateTime(timezone=True)),
        sa.Column("balance_points", sa.BigInteger, nullable=False, server_default="0", comment="sum of the entries"),
        sa.Column(
            "expired_points",
            sa.BigInteger,
            nullable=False,
            server_default="0",
            comment="expiry posted so far",
        ),
        sa.Column("last_entry_no", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("last_event_no", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column(
            "points_by_year",
            pg.JSONB,
            nullable=False,
            server_default=sa.text("'{}'::jsonb"),
            comment="civil year -> [points earned by its purchases, points debited in it], for expiry",
        ),
        sa.Column("last_purchase_at", sa.DateTime(timezone=True), comment="latest occurred_at of its purchases"),
        sa.Column("waiting_returns", sa.Integer, nullable=False, server_default="0"),
        sa.Column("timeline", pg.JSONB, comment="steps as customer-status published them; null: none yet"),
        sa.Column("timeline_generation", sa.Integer, nullable=False, server_default="0"),
        sa.Column("timeline_events", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column(
            "expiry_year",
            sa.Integer,
            nullable=False,
            server_default=sa.text("extract(year FROM now() AT TIME ZONE 'Europe/Berlin')::int"),
            comment="the year whose 1 January is the last one up to which expiry is posted",
        ),
        sa.Column(
            "expiring_told_year",
            sa.Integer,
            nullable=False,
            server_default="0",
            comment="the year at whose 1 January points are lost that was told last",
        ),
        postgresql_with={"fillfactor": 80},
    )


def _purchase_position(metadata: sa.MetaData) -> None:
    sa.Table(
        "purchase_position",
        metadata,
        sa.Column("account_no", sa.BigInteger, primary_key=True),
        sa.Column("purchase_id", sa.Text(collation="C"), primary_key=True),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False, comment="the record's stamp in the log"),
        sa.Column("cents_by_class", pg.JSONB, nullable=False),
        sa.Column("vouchers", sa.ARRAY(sa.Text), nullable=False),
        sa.Column("eligible_cents", sa.BigInteger, nullable=False),
        sa.Column("returned_cents", sa.BigInteger, nullable=False, comment="eligible cents of all its returns"),
        sa.Column("returned_completely", sa.Boolean, nullable=False),
        sa.Column("bonus_percent", sa.Integer, nullable=False),
        sa.Column("posted_points", sa.BigInteger, nullable=False, comment="sum of its entries"),
        sa.Index(
            "purchase_position_naming_vouchers",
            "vouchers",
            postgresql_using="gin",
            postgresql_where=sa.text("vouchers <> '{}'::text[]"),
            postgresql_with={"fastupdate": "off"},
        ),
    )


def _purchase_return(metadata: sa.MetaData) -> None:
    sa.Table(
        "purchase_return",
        metadata,
        sa.Column("account_no", sa.BigInteger, primary_key=True),
        sa.Column("return_id", sa.Text(collation="C"), primary_key=True),
        sa.Column("purchase_id", sa.Text(collation="C"), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("cents_by_class", pg.JSONB, nullable=False),
        sa.Column("complete", sa.Boolean, nullable=False),
        sa.Index("purchase_return_of_purchase", "account_no", "purchase_id"),
    )


def _ledger_entry(metadata: sa.MetaData) -> None:
    sa.Table(
        "ledger_entry",
        metadata,
        sa.Column("account_no", sa.BigInteger, primary_key=True),
        sa.Column("entry_no", sa.BigInteger, primary_key=True, comment="1, 2, 3 ... without a gap in each account"),
        sa.Column("posted_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("points", sa.BigInteger, nullable=False, comment="signed change of the balance, never 0"),
        sa.Column("purchase_id", sa.Text(collation="C")),
        sa.Column(
            "cause_id", sa.Text, comment="what caused it: return_id, timeline version, voucher_id, order_id, year"
        ),
        sa.Column("level", sa.Text, comment="kind level: what rates the purchase now"),
        sa.CheckConstraint("points <> 0", name="ledger_entry_changes_the_balance"),
        sa.CheckConstraint(f"kind IN ({', '.join(repr(kind) for kind in ENTRY_KINDS)})", name="ledger_entry_kind"),
    )
