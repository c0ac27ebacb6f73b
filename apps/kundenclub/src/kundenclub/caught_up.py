"""How far both services have come, and the one order in which waiting for them proves something.

A purchase makes customer-status publish a timeline, through its outbox, and the timeline makes loyalty re-rate
purchases; a member who joins at loyalty reaches customer-status likewise. So: both have passed the end of the
purchases that was read first; the outbox rows of that moment are gone; then both have passed the ends of the two
topics between them, read only now.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

import asyncpg
from eventing.kafka import KafkaConfig
from eventing.log_ends import read_end_offsets
from eventing.progress import load_all
from eventing.records import Partition

from kundenclub.contracts import CUSTOMER_STATUS, MEMBERS, PURCHASES
from kundenclub.databases import Databases
from kundenclub.errors import Explained

POLL_S = 0.2

Ends = Mapping[Partition, int]


class StillBehind(Explained):
    """A service did not catch up in time; the text says which one, with what, and how far it is."""


class _Deadline(NamedTuple):
    at: float
    seconds: float

    async def wait(self, behind: Callable[[], Awaitable[str | None]]) -> None:
        """Until `behind` has nothing more to say."""
        while (what := await behind()) is not None:
            if time.monotonic() > self.at:
                raise StillBehind(f"after {self.seconds:.0f} s {what}. Is its worker running?")
            await asyncio.sleep(POLL_S)


async def read_purchase_ends(kafka: KafkaConfig) -> Ends:
    """Where the purchases end now. Raises KafkaError."""
    return await read_end_offsets(kafka, [PURCHASES])


async def events_behind(conn: asyncpg.Connection, ends: Ends) -> int:
    """How many records before `ends` a service has not handled."""
    handled = {row.partition: row.next_offset for row in await load_all(conn)}
    return sum(max(0, end - handled.get(partition, 0)) for partition, end in ends.items())


async def wait_until_caught_up(databases: Databases, kafka: KafkaConfig, purchase_ends: Ends, timeout_s: float) -> None:
    """Until everything before `purchase_ends` has had all its effects in both services. Raises StillBehind."""
    deadline = _Deadline(time.monotonic() + timeout_s, timeout_s)
    for service, conn in databases.named():
        await deadline.wait(_not_passed(service, conn, purchase_ends))
    for service, conn in databases.named():
        newest = await conn.fetchval("SELECT max(outbox_id) FROM outbox")
        if newest is not None:
            await deadline.wait(_not_published(service, conn, newest))
    ends = await read_end_offsets(kafka, [CUSTOMER_STATUS, MEMBERS])
    await deadline.wait(_not_passed("loyalty", databases.loyalty, _of_topic(ends, CUSTOMER_STATUS)))
    await deadline.wait(_not_passed("customer-status", databases.customer_status, _of_topic(ends, MEMBERS)))


def _of_topic(ends: Ends, topic: str) -> Ends:
    return {partition: end for partition, end in ends.items() if partition.topic == topic}


def _not_passed(service: str, conn: asyncpg.Connection, ends: Ends) -> Callable[[], Awaitable[str | None]]:
    async def behind() -> str | None:
        events = await events_behind(conn, ends)
        topic = next(iter(ends)).topic if ends else ""
        return f"{service} is {events:,} events behind in {topic}" if events else None

    return behind


def _not_published(service: str, conn: asyncpg.Connection, newest: int) -> Callable[[], Awaitable[str | None]]:
    async def behind() -> str | None:
        rows = await conn.fetchval("SELECT count(*) FROM outbox WHERE outbox_id <= $1", newest)
        return f"{service} has {rows:,} outbox rows not published" if rows else None

    return behind
