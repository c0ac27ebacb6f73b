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
async def empty_copies(owner_url: str, service: str, connections: int) -> AsyncIterator[list[asyncpg.Connection]]:
    """So many connections to empty copies of all tables, dropped at the end.

    Raises Refused if another rebuild of this database runs.
    """
    async with contextlib.AsyncExitStack() as opened:
        conns: list[asyncpg.Connection] = []
        for _ in range(connections):
            conns.append(await connect(owner_url, application_name=f"{service}-rebuild-copies", posting=True))
            opened.push_async_callback(close, conns[-1])
        if not await conns[0].fetchval(_LOCK):
            raise Refused("another rebuild of this database is running")
        await _create(conns[0])
        opened.push_async_callback(_drop, conns[0])
        for conn in conns:
            await conn.execute(f"SET search_path = {SCHEMA}")
            await conn.execute("SET synchronous_commit = off")
        yield conns


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


async def _drop(conn: asyncpg.Connection) -> None:
    await conn.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
