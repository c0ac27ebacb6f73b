"""Empty copies of a service's tables beside the live ones, for handlers to work in as if nothing had ever happened.

They are in a schema of their own, which is all that their connection sees: what a handler does there cannot touch a
live row. Unlogged, because after a crash they are worth nothing. Whoever is killed leaves the schema behind, and the
next one drops it: the lock that goes with the connection tells that nobody uses it any more.
"""

import contextlib
from collections.abc import AsyncIterator
from typing import Final

import asyncpg

from eventing.commands import Refused
from eventing.database import close, connect

SCHEMA: Final = "rebuild"

_LOCK: Final = "SELECT pg_try_advisory_lock(hashtextextended('rebuild', 0))"
_TABLES: Final = """
    SELECT relname FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname <> 'alembic_version' ORDER BY 1"""


@contextlib.asynccontextmanager
async def empty_copies(owner_url: str, service: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to empty copies of all tables, dropped at the end.

    Raises Refused if another rebuild of this database runs.
    """
    conn = await connect(owner_url, application_name=f"{service}-rebuild-beside", posting=True)
    try:
        if not await conn.fetchval(_LOCK):
            raise Refused("another rebuild of this database is running")
        await _create(conn)
        try:
            yield conn
        finally:
            await _drop(conn)
    finally:
        await close(conn)


async def empty(conn: asyncpg.Connection) -> None:
    """Empties the copies."""
    tables = [row["relname"] for row in await conn.fetch(_TABLES)]
    await conn.execute(f"TRUNCATE {', '.join(map(_quoted, tables))}")


async def _create(conn: asyncpg.Connection) -> None:
    await _drop(conn)
    async with conn.transaction():
        await conn.execute(f"CREATE SCHEMA {SCHEMA}")
        for row in await conn.fetch(_TABLES):
            table = _quoted(row["relname"])
            await conn.execute(f"CREATE UNLOGGED TABLE {SCHEMA}.{table} (LIKE public.{table} INCLUDING ALL)")
    await conn.execute(f"SET search_path = {SCHEMA}")
    await conn.execute("SET synchronous_commit = off")


async def _drop(conn: asyncpg.Connection) -> None:
    await conn.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
