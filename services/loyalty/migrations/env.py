"""Alembic's entry: see eventing.migrations."""

from eventing.migrations import run_environment
from eventing.settings import load_settings
from loyalty.schema import metadata
from loyalty.settings import MigrationSettings


def by_hand() -> tuple[str, str]:
    """The addresses in the environment, for the `alembic` command."""
    settings = load_settings(MigrationSettings)
    return settings.migrations_database_url, settings.database_url


run_environment(metadata, by_hand)
