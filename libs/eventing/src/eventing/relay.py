"""Publishes the outbox: rows in id order, every message acknowledged, then the rows deleted.

One relay is active per service, the one whose session holds an advisory lock. It reads and deletes over that same
session, so a relay that lost the lock can do neither; and as every wait here ends in a statement soon, the server
ends the session of a frozen one (`idle_session_timeout`) and its successor goes on. Unsent rows are taken, never "ids
above the last one seen": ids are drawn before the commit, so a smaller one may appear later.
"""

import asyncio
import contextlib
import hashlib
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
import structlog
from aiokafka import AIOKafkaProducer

from eventing import metrics, outbox
from eventing.backoff import Backoff, is_set_within
from eventing.database import close, connect
from eventing.kafka import KafkaConfig, open_producer
from eventing.publishing import publish

log = structlog.get_logger(__name__)

_BACKOFF: Final = Backoff(first_s=0.5)


@dataclass(frozen=True)
class RelayPace:
    """Limits of a round, and how often the session is heard of: well within `idle_session_timeout_s`."""

    rows_a_round: int = 200
    messages_a_round: int = 5_000
    poll_s: float = 0.05  # one look into an empty table; see outbox.py why nobody is notified
    take_over_s: float = 1.0
    ping_s: float = 3.0
    idle_session_timeout_s: float = 15.0


@dataclass
class Relay:
    """Runs until `stop` is set; every failure only starts it over, so nothing unsent is ever passed over."""

    service: str
    database_url: str
    kafka: KafkaConfig
    pace: RelayPace = RelayPace()
    failures_in_row: int = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Takes the lock when it is free, publishes while it is held."""
        while not stop.is_set():
            try:
                await self._hold_session(stop)
            except Exception as error:
                log.warning("relay_starts_over", error=repr(error), failures_in_row=self.failures_in_row)
                metrics.RETRIES.labels("relay").inc()
                await is_set_within(stop, _BACKOFF.delay_s(self.failures_in_row))
                self.failures_in_row += 1
            finally:
                metrics.RELAY_ACTIVE.set(0)

    async def _hold_session(self, stop: asyncio.Event) -> None:
        conn = await connect(
            self.database_url,
            application_name=f"{self.service}-relay",
            idle_session_timeout_s=self.pace.idle_session_timeout_s,
        )
        try:
            while not await conn.fetchval("SELECT pg_try_advisory_lock($1)", _lock_key(self.service)):
                if await is_set_within(stop, self.pace.take_over_s):
                    return
            log.info("relay_active", service=self.service)
            await self._publish_with(conn, stop)
        finally:
            await close(conn)

    async def _publish_with(self, conn: asyncpg.Connection, stop: asyncio.Event) -> None:
        async with open_producer(self.kafka, f"{self.service}-relay") as producer:
            metrics.RELAY_ACTIVE.set(1)
            while not stop.is_set():
                if not await self._round(conn, producer):
                    await is_set_within(stop, self.pace.poll_s)

    async def _round(self, conn: asyncpg.Connection, producer: AIOKafkaProducer) -> int:
        rows = await conn.fetch(
            """SELECT outbox_id, messages FROM (
                 SELECT outbox_id, messages, sum(message_count) OVER (ORDER BY outbox_id) - message_count AS before
                 FROM (SELECT * FROM outbox ORDER BY outbox_id LIMIT $1) AS oldest) AS counted
               WHERE before < $2 ORDER BY outbox_id""",
            self.pace.rows_a_round,
            self.pace.messages_a_round,
        )
        if rows:
            messages = [message for row in rows for message in outbox.unpack(row["messages"])]
            await self._pinging(conn, publish(producer, messages))
            self.failures_in_row = 0
            await conn.execute("DELETE FROM outbox WHERE outbox_id = ANY($1)", [row["outbox_id"] for row in rows])
            for topic, count in Counter(message.topic for message in messages).items():
                metrics.RELAY_PUBLISHED.labels(topic).inc(count)
        return len(rows)

    async def _pinging(self, conn: asyncpg.Connection, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        try:
            while not (await asyncio.wait({task}, timeout=self.pace.ping_s))[0]:
                await conn.execute("SELECT 1")
            task.result()
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task


def _lock_key(service: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"relay:{service}".encode(), digest_size=8).digest(), signed=True)
