"""Alembic's entry: runs the migrations as the database's owner, or compares them with the models."""

import asyncio

from alembic import context
from customer_status.migrate import role_of
from customer_status.schema import metadata
from customer_status.settings import MigrationSettings
from eventing.settings import load_settings
from sqlalchemy import Connection, make_url, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool


def run(connection: Connection) -> None:
    """Migrate in one transaction; give up after 5 s rather than queue everyone behind a lock."""
    context.configure(connection=connection, target_metadata=metadata, compare_server_default=True)
    with context.begin_transaction():
        connection.execute(text("SET LOCAL lock_timeout = '5s'"))
        context.run_migrations()


async def main(owner_url: str) -> None:
    """Connect as the owner and migrate."""
    engine = create_async_engine(make_url(owner_url).set(drivername="postgresql+asyncpg"), poolclass=NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(run)
        await connection.commit()
    await engine.dispose()


attributes = context.config.attributes
if "owner_url" not in attributes:  # the `alembic` command, by hand
    settings = load_settings(MigrationSettings)
    attributes.update(owner_url=settings.migrations_database_url, app_role=role_of(settings.database_url))
asyncio.run(main(attributes["owner_url"]))
