"""Migrations: run as the database's owner, in one transaction, giving up rather than queueing everyone behind a lock.

A service keeps its Alembic scripts in a folder `migrations` beside its `src`, which becomes part of its package when it
is built; its `env.py` is one call of `run_environment`.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from alembic import command, context, op
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from eventing.database import DatabaseAway

LOCK_TIMEOUT: Final = "5s"


class MigrationFailed(Exception):
    """A migration did not run; the message is one line of what the database or Alembic says."""


def alembic_config(scripts: Path, owner_url: str, app_url: str) -> Config:
    """Alembic's settings in code: an installed package carries its scripts but no alembic.ini."""
    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    config.attributes.update(owner_url=owner_url, app_url=app_url)
    return config


def upgrade(scripts: Path, owner_url: str, app_url: str) -> None:
    """Run the migrations that are missing. Raises MigrationFailed, DatabaseAway or an asyncpg error."""
    try:
        command.upgrade(alembic_config(scripts, owner_url, app_url), "head")
    except OSError as error:
        raise DatabaseAway(owner_url, error) from error
    except (SQLAlchemyError, CommandError) as error:
        raise MigrationFailed(f"{type(error).__name__}: {error}".splitlines()[0]) from error


def app_role() -> str:
    """In a migration: the role that the service works as, the user of its address, quoted for a GRANT."""
    role = sa.make_url(context.config.attributes["app_url"]).username or ""
    return op.get_bind().dialect.identifier_preparer.quote(role)


def run_environment(metadata: sa.MetaData, by_hand: Callable[[], tuple[str, str]]) -> None:
    """All that an `env.py` does: migrate, or compare the database with `metadata`.

    `by_hand` gives the owner's and the application's address when `alembic` was called by hand.
    """
    attributes = context.config.attributes
    if "owner_url" not in attributes:
        attributes["owner_url"], attributes["app_url"] = by_hand()
    asyncio.run(_connect_and_run(attributes["owner_url"], metadata))


async def _connect_and_run(owner_url: str, metadata: sa.MetaData) -> None:
    engine = create_async_engine(sa.make_url(owner_url).set(drivername="postgresql+asyncpg"), poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(_run, metadata)
            await connection.commit()
    finally:
        await engine.dispose()


def _run(connection: sa.Connection, metadata: sa.MetaData) -> None:
    context.configure(connection=connection, target_metadata=metadata, compare_server_default=True)
    with context.begin_transaction():
        connection.execute(sa.text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
        context.run_migrations()
