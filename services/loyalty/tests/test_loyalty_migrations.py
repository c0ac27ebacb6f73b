"""The migrations and the models describe the same schema."""

from alembic import command
from devstack import ServiceDatabase
from eventing.migrations import alembic_config
from loyalty.migrate import SCRIPTS


def test_models_and_migrations_agree(database: ServiceDatabase) -> None:
    command.check(alembic_config(SCRIPTS, database.owner_url, database.app_url))
