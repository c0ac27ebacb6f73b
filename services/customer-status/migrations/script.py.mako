"""${message}"""

from alembic import op
from eventing.migrations import app_role

revision = "${up_revision}"
down_revision = "${down_revision}"


def upgrade() -> None:
    """Say why."""
    ${upgrades if upgrades else "pass"}
