"""The migrations and the models describe the same schema."""

from alembic import command
from devstack import ServiceDatabase
from loyalty.migrate import alembic_config, role_of


def test_models_and_migrations_agree(database: ServiceDatabase) -> None:
    command.check(alembic_config(database.owner_url, role_of(database.app_url)))
