"""Erased members, and what is deleted with them."""

import sqlalchemy as sa
from alembic import op
from eventing.migrations import app_role

revision = "20261122_erasure"
down_revision = "20261122_safety"


def upgrade() -> None:
    """Accounts are deleted only where one was just made for somebody who is erased; the rest stays without a name."""
    op.create_table(
        "forgotten",
        sa.Column("key_hash", sa.LargeBinary(), primary_key=True, comment="HMAC of the key of events"),
        sa.Column("forgotten_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
    )
    op.create_table("forgotten_check", sa.Column("secret_check", sa.LargeBinary(), primary_key=True))
    op.add_column(
        "idempotency_key", sa.Column("about", sa.Text(), comment="whom the answer is about; it goes with them")
    )
    op.create_index(
        "idempotency_key_about", "idempotency_key", ["about"], postgresql_where=sa.text("about IS NOT NULL")
    )
    role = app_role()
    op.execute(f"GRANT SELECT, INSERT ON forgotten, forgotten_check TO {role}")
    op.execute(f"GRANT DELETE ON account, dead_letter TO {role}")
