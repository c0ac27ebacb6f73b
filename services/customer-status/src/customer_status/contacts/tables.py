"""What was recommended to whom, who is looked after, what will end, and what members answered."""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg


def contacts_tables(metadata: sa.MetaData) -> None:
    """Add the tables of the contacts feature to `metadata`."""
    _contact(metadata)
    _contact_watch(metadata)
    _contact_notice(metadata)
    _survey(metadata)


def _contact(metadata: sa.MetaData) -> None:
    sa.Table(
        "contact",
        metadata,
        sa.Column("contact_no", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("account_no", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("cause", sa.Text, nullable=False),
        sa.Column("level", sa.Text, comment="of its reason, where that names one"),
        sa.Column("told_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("channels", sa.ARRAY(sa.Text), nullable=False),
        sa.UniqueConstraint("account_no", "kind", "cause", name="contact_key"),
    )


def _contact_watch(metadata: sa.MetaData) -> None:
    """One row a member who ever decided about a channel: nobody else is ever looked at."""
    sa.Table(
        "contact_watch",
        metadata,
        sa.Column("account_no", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("wakes", sa.BigInteger, nullable=False, server_default="0", comment="grows to ask for a new look"),
        sa.Column("events", sa.BigInteger, comment="as of the last look, like the two that follow"),
        sa.Column("generation", sa.Integer),
        sa.Column("joined_at", sa.DateTime(timezone=True)),
        sa.Column("looked_at", sa.DateTime(timezone=True), nullable=False, server_default="-infinity"),
        sa.Column("look_at", sa.DateTime(timezone=True), nullable=False, server_default="-infinity"),
    )


def _contact_notice(metadata: sa.MetaData) -> None:
    sa.Table(
        "contact_notice",
        metadata,
        sa.Column("account_no", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("cause", sa.Text, primary_key=True),
        sa.Column("event_no", sa.BigInteger, nullable=False, comment="of the member, as loyalty counts"),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reason", pg.JSONB, nullable=False),
    )


def _survey(metadata: sa.MetaData) -> None:
    table = sa.Table(
        "survey",
        metadata,
        sa.Column("survey_id", sa.Text, primary_key=True),
        sa.Column("account_no", sa.BigInteger, nullable=False),
        sa.Column("purchase_id", sa.Text, nullable=False),
        sa.Column("best_score", sa.Integer, nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("score", sa.Integer),
        sa.Column("answered_at", sa.DateTime(timezone=True)),
        sa.CheckConstraint("score BETWEEN 0 AND best_score", name="survey_score_check"),
        sa.CheckConstraint("(score IS NULL) = (answered_at IS NULL)", name="survey_answer_check"),
    )
    sa.Index("survey_account", table.c.account_no)
