"""The gauges that need the database, on a connection of their own so that they never disturb the work."""

import asyncio
from typing import Final

import structlog

from eventing import dead_letters, metrics, outbox
from eventing.backoff import is_set_within
from eventing.database import close, connect

log = structlog.get_logger(__name__)

_INTERVAL_S: Final = 10.0


async def observe(database_url: str, service: str, stop: asyncio.Event) -> None:
    """Sets the gauges every few seconds until `stop` is set; what fails is tried again."""
    while not stop.is_set():
        try:
            await _observe_with(database_url, service, stop)
        except Exception as error:
            log.info("not_observed", error=repr(error))
            await is_set_within(stop, _INTERVAL_S)


async def _observe_with(database_url: str, service: str, stop: asyncio.Event) -> None:
    conn = await connect(database_url, application_name=f"{service}-observer")
    try:
        while not stop.is_set():
            metrics.DEAD_LETTERS_OPEN.set(await dead_letters.count_open(conn))
            messages, oldest_s = await outbox.depth(conn)
            metrics.OUTBOX_MESSAGES.set(messages)
            metrics.OUTBOX_OLDEST_SECONDS.set(oldest_s)
            await is_set_within(stop, _INTERVAL_S)
    finally:
        await close(conn)
