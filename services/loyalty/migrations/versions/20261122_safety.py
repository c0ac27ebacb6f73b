"""API keys that end, failed attempts, and the schema's version for the application to see."""

import sqlalchemy as sa
from alembic import op
from eventing.migrations import app_role

revision = "20261122_safety"
down_revision = "20261122_rewards"


def upgrade() -> None:
    """Add them; the application forgets old attempts."""
    op.add_column(
        "api_key",
        sa.Column("expires_at", sa.DateTime(timezone=True), comment="the first instant it is no longer valid"),
    )
    op.create_table(
        "failed_attempt",
        sa.Column("client", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("failures", sa.Integer(), server_default="1", nullable=False),
        sa.Column("began_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("client", "kind"),
    )
    role = app_role()
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON failed_attempt TO {role}")
    op.execute(f"GRANT SELECT ON alembic_version TO {role}")
