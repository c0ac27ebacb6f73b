"""What has to be forgotten some day, forgotten in small steps beside the requests."""

import asyncio
from typing import Final

import structlog

from webapi import idempotency
from webapi.access import trace
from webapi.attempts import purge_attempts
from webapi.database import Database
from webapi.problems import Problem

log = structlog.get_logger(__name__)

EVERY_SECONDS: Final = 3600.0
RETRY_SECONDS: Final = 10.0
STEP_ROWS: Final = 1_000
STEPS: Final = 1_000
LOCK: Final = 0x77656261_70690001  # "webapi", so that of several processes one does it


async def keep_house(database: Database) -> None:
    """Runs beside the application: once it can, and every hour."""
    while True:
        try:
            forgotten = await forget(database)
        except Problem:  # the database is away: readiness says so
            await asyncio.sleep(RETRY_SECONDS)
        except Exception as error:  # whatever it is, it must not end the forgetting
            log.warning("not purged", exception=trace(error))
            await asyncio.sleep(RETRY_SECONDS)
        else:
            if forgotten:
                log.info("remembered answers purged", count=forgotten)
            await asyncio.sleep(EVERY_SECONDS)


async def forget(database: Database, step_rows: int = STEP_ROWS) -> int:
    """Forget remembered answers that are too old, each step in a short transaction; returns how many."""
    total = 0
    for _ in range(STEPS):
        async with database.transaction() as connection:
            if not await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", LOCK):
                return total
            if total == 0:
                await purge_attempts(connection)
            forgotten = await idempotency.purge(connection, step_rows)
        total += forgotten
        if forgotten < step_rows:
            break
    return total
