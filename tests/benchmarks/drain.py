"""How fast workers empty the log. What they read is there before they start, and they all start at one moment.

Until then the benchmark holds the locks of the progress rows: the workers start, join their group, share the
partitions and fetch, but the first batch of each waits for its lock. So the start of processes does not count, and
nothing else is left out. The time ends when the last progress row is at the end of the log; what is left to
publish then is waited for and told apart.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from types import MappingProxyType

import asyncpg
import psutil
from eventing.log_ends import read_end_offsets
from kundenclub.contracts import CUSTOMER_STATUS, PURCHASES

from tests.benchmarks.processes import Program, cpu_seconds, memory_bytes, running, worker
from tests.benchmarks.servers import Servers, database_of

POLL_S = 0.02
MEMORY_EVERY_POLLS = 20
TIMEOUT_S = 900.0


@dataclass
class Drained:
    """What one service's workers did. Events are records of the purchases topic."""

    events: int = 0
    seconds: float = 0.0
    wal_bytes: int = 0
    published_seconds: float = 0.0
    worker_bytes: int = 0
    worker_cpu_seconds: float = 0.0
    database_cpu_seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Events a second."""
        return self.events / self.seconds


@dataclass
class _Watch:
    conn: asyncpg.Connection
    start: int
    drained: Drained = field(default_factory=Drained)

    async def handled(self) -> int:
        return int(await self.conn.fetchval("SELECT sum(next_offset) FROM event_progress WHERE topic = $1", PURCHASES))

    async def is_published(self) -> bool:
        return not await self.conn.fetchval("SELECT count(*) FROM outbox")


async def drain(
    servers: Servers,
    workers: Mapping[str, int],
    *,
    under: Sequence[str] = (),
    variables: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Drained]:
    """Let so many workers of each service read all purchases; `under` is what runs them, such as a profiler, and
    `variables` their part of the environment.
    """
    end = await servers.purchases_end()
    each = [service for service, count in workers.items() for _ in range(count)]
    programs = [worker(service, under=under, variables=variables) for service in each]
    async with AsyncExitStack() as stack:
        watches: dict[str, _Watch] = {}
        for service in workers:
            conn = await stack.enter_async_context(servers.admin(database_of(service)))
            watches[service] = _Watch(conn, 0)
            watches[service].start = await watches[service].handled()
        processes = await stack.enter_async_context(_held(servers, list(watches.values()), programs))
        async with asyncio.timeout(TIMEOUT_S):
            await _watch(watches, end, processes, servers.database_processes())
            await _until_timelines_are_read(servers, watches)
    return {service: watch.drained for service, watch in watches.items()}


@asynccontextmanager
async def _held(
    servers: Servers, watches: Sequence[_Watch], programs: Sequence[Program]
) -> AsyncIterator[list[psutil.Process]]:
    """Workers that are ready, with all partitions shared among them, and start as the block does."""
    async with AsyncExitStack() as stack:
        locks = [watch.conn.transaction() for watch in watches]
        for lock, watch in zip(locks, watches, strict=True):
            await lock.start()
            await watch.conn.execute("SELECT FROM event_progress WHERE topic = $1 FOR UPDATE", PURCHASES)
        processes = await stack.enter_async_context(running(programs, servers.environment))
        for lock in locks:
            await lock.commit()
        yield processes


async def _watch(
    watches: Mapping[str, _Watch], end: int, processes: Sequence[psutil.Process], database: Sequence[psutil.Process]
) -> None:
    """Until every service is at `end` and has published everything."""
    began, worked, stored = time.perf_counter(), cpu_seconds(processes), cpu_seconds(database)
    first = next(iter(watches.values())).conn
    wal = await first.fetchval("SELECT pg_current_wal_lsn()")
    waiting, polls = dict(watches), 0
    while waiting:
        for service, watch in list(waiting.items()):
            drained = watch.drained
            if not drained.seconds and await watch.handled() >= end:
                drained.seconds, drained.events = time.perf_counter() - began, end - watch.start
                drained.worker_cpu_seconds = cpu_seconds(processes) - worked
                drained.database_cpu_seconds = cpu_seconds(database) - stored
                drained.wal_bytes = int(await watch.conn.fetchval("SELECT pg_current_wal_lsn() - $1", wal))
            if drained.seconds and await watch.is_published():
                drained.published_seconds = time.perf_counter() - began
                del waiting[service]
        if polls % MEMORY_EVERY_POLLS == 0:
            most = max(map(memory_bytes, processes))
            for watch in watches.values():
                watch.drained.worker_bytes = max(watch.drained.worker_bytes, most)
        polls += 1
        await asyncio.sleep(POLL_S)


async def _until_timelines_are_read(servers: Servers, watches: Mapping[str, _Watch]) -> None:
    """Where both services ran, loyalty has still to rate by what customer-status published last."""
    if len(watches) == 1:
        return
    end, began = sum((await read_end_offsets(servers.kafka, [CUSTOMER_STATUS])).values()), time.perf_counter()
    loyalty = watches["loyalty"]
    query = "SELECT coalesce(sum(next_offset), 0) FROM event_progress WHERE topic = $1"
    while await loyalty.conn.fetchval(query, CUSTOMER_STATUS) < end or not await loyalty.is_published():
        await asyncio.sleep(POLL_S)
    loyalty.drained.published_seconds += time.perf_counter() - began
