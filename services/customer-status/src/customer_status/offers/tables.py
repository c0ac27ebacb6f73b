"""Offers, their slots, and what members claimed of them.

An offer counts its claims itself, so that one condition on one row decides about the last seat.
"""

import sqlalchemy as sa
from programme.benefit_terms import OFFER_KINDS
from programme.terms import WON_LEVELS


def offers_tables(metadata: sa.MetaData) -> None:
    """Add the tables of the offers feature to `metadata`."""
    _offer(metadata)
    _offer_slot(metadata)
    _offer_claim(metadata)


def _offer(metadata: sa.MetaData) -> None:
    sa.Table(
        "offer",
        metadata,
        sa.Column("offer_id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("least_level", sa.Text, nullable=False),
        sa.Column("opens_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closes_at", sa.DateTime(timezone=True), nullable=False, comment="no longer claimed from then on"),
        sa.Column("capacity", sa.Integer, comment="seats; null: no limit, or that of the slots"),
        sa.Column("claimed", sa.Integer, nullable=False, server_default="0", comment="claims that are not cancelled"),
        sa.Column("invites", sa.Boolean, nullable=False, comment="whether members are told of it"),
        sa.Column("closed_at", sa.DateTime(timezone=True), comment="when staff closed it before its end"),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_by", sa.Text, nullable=False),
        sa.CheckConstraint(f"kind IN ({_quoted(OFFER_KINDS)})", name="offer_kind_check"),
        sa.CheckConstraint(f"least_level IN ({_quoted(WON_LEVELS)})", name="offer_least_level_check"),
        sa.CheckConstraint("closes_at > opens_at", name="offer_period_check"),
        sa.CheckConstraint("claimed >= 0 AND claimed <= capacity", name="offer_capacity_check"),
    )


def _offer_slot(metadata: sa.MetaData) -> None:
    sa.Table(
        "offer_slot",
        metadata,
        sa.Column("offer_id", sa.BigInteger, sa.ForeignKey("offer.offer_id"), primary_key=True),
        sa.Column("slot_no", sa.Integer, primary_key=True),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("label", sa.Text, nullable=False, comment="with whom or where"),
        sa.Column("removed_at", sa.DateTime(timezone=True), comment="no longer offered; its number is not used again"),
        sa.CheckConstraint("ends_at > starts_at", name="offer_slot_time_check"),
        sa.UniqueConstraint("offer_id", "starts_at", "label", name="offer_slot_key"),
    )


def _offer_claim(metadata: sa.MetaData) -> None:
    table = sa.Table(
        "offer_claim",
        metadata,
        sa.Column("claim_no", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("offer_id", sa.BigInteger, sa.ForeignKey("offer.offer_id"), nullable=False),
        sa.Column("account_no", sa.BigInteger, nullable=False),
        sa.Column("slot_no", sa.Integer),
        sa.Column("level", sa.Text, nullable=False, comment="the member's when it was claimed"),
        sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("cancelled_at", sa.DateTime(timezone=True)),
    )
    still_held = table.c.cancelled_at.is_(None)
    sa.Index("offer_claim_member_key", "offer_id", table.c.account_no, unique=True, postgresql_where=still_held)
    sa.Index("offer_claim_slot_key", "offer_id", table.c.slot_no, unique=True, postgresql_where=still_held)
    sa.Index("offer_claim_account", table.c.account_no, table.c.claim_no)


def _quoted(words: tuple[str, ...]) -> str:
    return ", ".join(f"'{word}'" for word in words)
