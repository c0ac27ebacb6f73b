"""Who looks after a key account."""

import sqlalchemy as sa


def key_accounts_tables(metadata: sa.MetaData) -> None:
    """Add the table of the key accounts feature to `metadata`."""
    sa.Table(
        "contact_person",
        metadata,
        sa.Column("account_no", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("email", sa.Text),
        sa.Column("assigned_by", sa.Text, nullable=False, comment="who told so: caller, and its subject"),
        sa.Column("assigned_at", sa.DateTime(timezone=True), nullable=False),
    )
