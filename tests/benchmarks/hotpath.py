"""Where a worker's time goes: the profile of a real one, the time of each statement of a batch, and their plans."""

import asyncio
import re
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
from devstack.databases import program
from eventing.batches import judge
from eventing.database import connect
from eventing.forgotten import Secret
from eventing.progress import Step, advance, load_all
from eventing.records import Message, Record
from eventing.subscription import Decoded
from eventing.transaction import Transaction
from kundenclub.contracts import PURCHASES
from loyalty.subscriptions import subscriptions
from programme.terms import load_programme

from tests.benchmarks.drain import drain
from tests.benchmarks.prepare import KEPT
from tests.benchmarks.servers import CONTRACTS, Servers

BATCH = 500
EXPLAINED = ("SELECT", "WITH", "INSERT", "UPDATE", "DELETE")
# pg_waldump: kind, then count, record size, FPI size and combined size, each with its share in brackets.
_KINDS = re.compile(r"^(\w+/\S+)" + r" +\d+ +\([^)]*\)" * 2 + r" +(\d+) +\([^)]*\) +(\d+)", re.MULTILINE)

_LONG_ARRAY = re.compile(r"'\{[^']{60,}\}'")


class WalBytes(NamedTuple):
    """What records of one kind take, bytes an event; `images` are the full pages among them."""

    kind: str
    total: float
    images: float


async def wal(servers: Servers) -> list[WalBytes]:
    """What PostgreSQL writes ahead while one worker reads all purchases, the most first."""
    await servers.reset("loyalty", KEPT["loyalty"])
    async with servers.admin("loyalty") as conn:
        begin = await conn.fetchval("SELECT pg_current_wal_lsn()::text")
        events = (await drain(servers, {"loyalty": 1}))["loyalty"].events
        end = await conn.fetchval("SELECT pg_current_wal_lsn()::text")
    segments = str(servers.cluster.pgdata / "pg_wal")
    command = [program("pg_waldump"), "--stats=record", "-p", segments, "-s", begin, "-e", end]
    dumping = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    output, _ = await dumping.communicate()
    found = [
        WalBytes(kind, int(total) / events, int(images) / events)
        for kind, images, total in _KINDS.findall(output.decode())
    ]
    return sorted(found, key=lambda each: -each.total)


async def profile(servers: Servers) -> str:
    """Where the processor time of one worker goes that reads all purchases: see sampled.py."""
    await servers.reset("loyalty", KEPT["loyalty"])
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder, "profile"))
        under = (sys.executable, "-m", "tests.benchmarks.sampled", file)
        await drain(servers, {"loyalty": 1}, under=under, variables={"PYTHONPATH": str(CONTRACTS.parent)})
        return await asyncio.to_thread(Path(file).read_text, encoding="utf-8")


@dataclass
class Statements:
    """Seconds and plans of the statements of a batch, by their text."""

    seconds: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    plans: dict[str, str] = field(default_factory=dict)


async def statements(servers: Servers, messages: list[Message]) -> Statements:
    """Post `messages`, which are new, in batches whose statements are timed; the last one with EXPLAIN."""
    secret = Secret.parse(servers.environment["LOYALTY_ERASURE_KEY"])
    programme = load_programme(CONTRACTS / "programme.toml")
    subscription = next(s for s in subscriptions(programme, secret) if s.topic == PURCHASES)
    records = [
        Record(PURCHASES, 0, n, time.time_ns() // 1000, message.key, message.value, message.headers)
        for n, message in enumerate(messages)
    ]
    found, left = Statements(), iter(records)
    conn = await connect(servers.environment["LOYALTY_DATABASE_URL"], application_name="benchmark", posting=True)
    try:
        steps = [
            Step(row.partition.number, row.next_offset, row.next_offset)
            for row in await load_all(conn)
            if row.partition.topic == PURCHASES
        ]
        while batch := list(islice(left, BATCH)):
            judged = [judge(subscription, record).judged for record in batch]
            explain = batch[-1] is records[-1]
            async with conn.transaction():
                watched: Any = _Watched(conn, found, explain)
                await advance(watched, PURCHASES, steps)
                transaction = Transaction(watched)
                await subscription.apply(transaction, [each for each in judged if isinstance(each, Decoded)])
                await transaction.flush()
    finally:
        await conn.close()
    return found


class _Watched:
    """A connection that times what is asked of it; with `explain` each statement is planned and run once before."""

    def __init__(self, conn: asyncpg.Connection, found: Statements, explain: bool) -> None:
        self._conn, self._found, self._explain = conn, found, explain

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._conn, name)
        if not callable(method) or not name.startswith(("copy_", "execute", "fetch")):
            return method

        async def timed(query: str, *args: Any, **options: Any) -> Any:
            text = f"COPY {query}" if name.startswith("copy_") else " ".join(query.split())
            if self._explain and name in ("execute", "fetch", "fetchrow", "fetchval"):
                await self._plan(text, args)
            began = time.perf_counter()
            result = await method(query, *args, **options)
            self._found.seconds[text].append(time.perf_counter() - began)
            return result

        return timed

    async def _plan(self, text: str, args: tuple[Any, ...]) -> None:
        if not text.startswith(EXPLAINED):
            return
        undone = self._conn.transaction()
        await undone.start()
        rows = await self._conn.fetch(f"EXPLAIN (ANALYZE, BUFFERS) {text}", *args)
        await undone.rollback()
        self._found.plans[text] = _LONG_ARRAY.sub("'{...}'", "\n".join(row[0] for row in rows))
