"""${message}"""

import sqlalchemy as sa
from alembic import context, op

revision = "${up_revision}"
down_revision = "${down_revision}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Say why."""
    ${upgrades if upgrades else "pass"}
