"""Run by Alembic: migrates as the owner, one transaction a migration, and never queues behind a long lock."""

import asyncio

from alembic import context
from loyalty.schema import metadata
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

LOCK_TIMEOUT = "5s"


def migrate(connection: Connection) -> None:
    """Run what is missing; give up rather than let everyone else queue behind a migration that waits."""
    connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))
    connection.commit()
    context.configure(
        connection=connection,
        target_metadata=metadata,
        transaction_per_migration=True,
        compare_type=True,
        compare_server_default=True,
    )
    with context.begin_transaction():
        context.run_migrations()


async def run(owner_url: str) -> None:
    """Migrate over a connection of the owner's."""
    url = owner_url.replace("postgresql://", "postgresql+asyncpg://", 1)
    engine = create_async_engine(url, poolclass=NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(migrate)
    await engine.dispose()


asyncio.run(run(context.config.attributes["owner_url"]))
