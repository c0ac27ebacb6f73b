"""`loyalty migrate`: where this service's migrations are, for eventing.migrations to run."""

from eventing.schema_version import scripts_of

SCRIPTS = scripts_of(__file__)


def upgrade(owner_url: str, app_url: str) -> None:
    """Run the migrations that are missing, as the owner, granting to the role of `app_url`."""
    from eventing import migrations  # and Alembic, which only this command needs

    migrations.upgrade(SCRIPTS, owner_url, app_url)
