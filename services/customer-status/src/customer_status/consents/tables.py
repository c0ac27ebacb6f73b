"""What members decided about being contacted: rows are only added, the latest decision of a channel counts."""

import sqlalchemy as sa


def consents_tables(metadata: sa.MetaData) -> None:
    """Add the table of the consents feature to `metadata`."""
    sa.Table(
        "consent",
        metadata,
        sa.Column("account_no", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("channel", sa.Text, primary_key=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), primary_key=True),
        sa.Column("granted", sa.Boolean, primary_key=True),
        sa.Column("source", sa.Text, nullable=False, comment="where the member said so"),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("recorded_by", sa.Text, nullable=False),
    )
