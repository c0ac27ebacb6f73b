"""`python -m tests.benchmarks.posting RATE MEMBERS`: publish so many purchases a second until told to stop.

A process of its own: it takes a good part of a processor, which would delay what measures beside it.
"""

import asyncio
import math
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from eventing.kafka import open_producer
from eventing.settings import KafkaSettings, load_settings
from kundenclub.contracts import PURCHASES

from tests.benchmarks.latency import WARM_UP_S, Events, publish_at_rate
from tests.benchmarks.processes import beside
from tests.benchmarks.servers import CONTRACTS, Servers

POLL_S = 0.05
STARTED_S = 60.0


@asynccontextmanager
async def posting(servers: Servers, rate: int, members: int) -> AsyncIterator[None]:
    """Purchases that loyalty's worker, which runs, has begun to post, and that go on until the block ends."""
    command = [sys.executable, "-m", "tests.benchmarks.posting", str(rate), str(members)]
    environment = {**servers.environment, "PYTHONPATH": str(CONTRACTS.parent)}
    async with servers.admin("loyalty") as conn:
        before = await posted(conn)
        async with beside(command, environment):
            async with asyncio.timeout(STARTED_S):
                while await posted(conn) == before:
                    await asyncio.sleep(POLL_S)
            await asyncio.sleep(WARM_UP_S)
            yield


async def posted(conn: asyncpg.Connection) -> int:
    """The records of the purchases topic that loyalty has read, all partitions together."""
    return int(await conn.fetchval("SELECT sum(next_offset) FROM event_progress WHERE topic = $1", PURCHASES))


async def run(rate: int, members: int) -> None:
    """Never ends."""
    async with open_producer(load_settings(KafkaSettings).config(), "benchmark-posting") as producer:
        await publish_at_rate(producer, Events(members), rate, math.inf)


if __name__ == "__main__":
    asyncio.run(run(int(sys.argv[1]), int(sys.argv[2])))
