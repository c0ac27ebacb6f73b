"""The terms the service has worked by."""

import sqlalchemy as sa
from alembic import op
from eventing.migrations import app_role
from sqlalchemy.dialects import postgresql as pg

revision = "20261122_terms"
down_revision = "20261122_first_tables"


def upgrade() -> None:
    """Create the table. The application replaces terms that have not begun."""
    op.create_table(
        "terms",
        sa.Column("valid_from", sa.Date(), primary_key=True),
        sa.Column("content", pg.JSONB(), nullable=False),
        sa.Column("first_used_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
    )
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON terms TO {app_role()}")
