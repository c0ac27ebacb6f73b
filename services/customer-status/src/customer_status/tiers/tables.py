"""Members, their purchases and their returns: what levels are computed from.

No foreign keys between the hot tables: they cost a third of the writing rate, and `customer-status verify` checks
what they would. A member's rows refer to `account_no` only, so erasing a member cuts one link.
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg


def tiers_tables(metadata: sa.MetaData) -> None:
    """Add the tables of the tiers feature to `metadata`."""
    _member(metadata)
    _purchase(metadata)
    _purchase_return(metadata)


def _member(metadata: sa.MetaData) -> None:
    sa.Table(
        "member",
        metadata,
        sa.Column("account_no", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("member_id", sa.Text(collation="C"), unique=True, comment="null once the member is erased"),
        sa.Column("joined_at", sa.DateTime(timezone=True), comment="null: known by an event only"),
        sa.Column(
            "generation",
            sa.Integer,
            nullable=False,
            server_default="1",
            comment="grows when timelines are computed anew from the log",
        ),
        sa.Column(
            "events", sa.BigInteger, nullable=False, server_default="0", comment="purchases and returns accepted"
        ),
        sa.Column(
            "waiting_returns", sa.Integer, nullable=False, server_default="0", comment="whose purchase is unknown"
        ),
        sa.Column("state", pg.BYTEA, comment="packed level state (programme.levels); null: no purchase yet"),
        sa.Column("timeline", pg.JSONB, comment="steps as published last; null: never, which means basis"),
        *_purchase_days(),
        postgresql_with={"fillfactor": 80},
    )


def _purchase_days() -> list[sa.Column[Any]]:
    """`tiers.purchase_days`; days are counted from 1970-01-01."""
    return [
        sa.Column("first_event_day", sa.Integer, comment="civil day of the earliest purchase or return"),
        sa.Column("last_purchase_day", sa.Integer, comment="civil day of the latest purchase"),
        sa.Column("last_return_day", sa.Integer, comment="civil day of the latest return"),
        _array("purchase_days", sa.Integer, "civil days lately with a purchase of which something remains"),
        _array("kept_cents", sa.BigInteger, "what remains of the purchases of these days up to each, of all classes"),
        _array("purchase_months", sa.SmallInteger, "calendar months that these days up to each are in"),
    ]


def _array(name: str, kind: type[sa.types.TypeEngine[Any]], comment: str) -> sa.Column[Any]:
    return sa.Column(name, sa.ARRAY(kind), nullable=False, server_default="{}", comment=comment)


def _purchase(metadata: sa.MetaData) -> None:
    sa.Table(
        "purchase",
        metadata,
        sa.Column("account_no", sa.BigInteger, primary_key=True),
        sa.Column("purchase_id", sa.Text(collation="C"), primary_key=True),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False, comment="the record's stamp in the log"),
        sa.Column("cents_by_class", pg.JSONB, nullable=False),
        sa.Column("vouchers", sa.ARRAY(sa.Text), nullable=False),
        sa.Column("eligible_cents", sa.BigInteger, nullable=False, comment="by the terms at occurred_at"),
        sa.Column("returned_cents", sa.BigInteger, nullable=False, comment="eligible cents of all its returns"),
        sa.Column("returned_completely", sa.Boolean, nullable=False),
        sa.Column("civil_date", sa.Date, nullable=False, comment="of occurred_at in Europe/Berlin"),
        sa.Column("total_cents", sa.Integer, nullable=False, comment="of all classes"),
        sa.Column("returned_total_cents", sa.BigInteger, nullable=False, comment="cents of all classes of its returns"),
    )


def _purchase_return(metadata: sa.MetaData) -> None:
    sa.Table(
        "purchase_return",
        metadata,
        sa.Column("account_no", sa.BigInteger, primary_key=True),
        sa.Column("return_id", sa.Text(collation="C"), primary_key=True),
        sa.Column("purchase_id", sa.Text(collation="C"), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False, comment="the record's stamp in the log"),
        sa.Column("cents_by_class", pg.JSONB, nullable=False),
        sa.Column("complete", sa.Boolean, nullable=False),
        sa.Column("civil_date", sa.Date, nullable=False, comment="of occurred_at in Europe/Berlin"),
        sa.Column("total_cents", sa.Integer, nullable=False, comment="of all classes"),
    )
