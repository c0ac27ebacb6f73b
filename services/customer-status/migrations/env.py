"""Alembic's entry: see eventing.migrations."""

from customer_status.schema import metadata
from customer_status.settings import MigrationSettings
from eventing.migrations import run_environment
from eventing.settings import load_settings


def by_hand() -> tuple[str, str]:
    """The addresses in the environment, for the `alembic` command."""
    settings = load_settings(MigrationSettings)
    return settings.migrations_database_url, settings.database_url


run_environment(metadata, by_hand)
