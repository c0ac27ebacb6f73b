"""Where a worker's time goes: a profile of a real one, the time of each statement of a batch, and their plans."""

import asyncio
import pstats
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
PROFILE_LINES = 30
# pg_waldump: kind, then count, record size, FPI size and combined size, each with its share in brackets.
_KINDS = re.compile(r"^(\w+/\S+)" + r" +\d+ +\([^)]*\)" * 2 + r" +(\d+) +\([^)]*\) +(\d+)", re.MULTILINE)


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
    """cProfile of one worker that reads all purchases: functions by their own time. Profiling slows it down."""
    await servers.reset("loyalty", KEPT["loyalty"])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "profile")
        await drain(servers, {"loyalty": 1}, under=(sys.executable, "-m", "cProfile", "-o", str(file)))
        functions = pstats.Stats(str(file)).stats  # type: ignore[attr-defined]
    total = sum(own for _, _, own, _, _ in functions.values())
    lines = [f"{'own s':>8}  {'share':>5}  {'calls':>9}  function"]
    for (path, line, name), (_, calls, own, _, _) in sorted(functions.items(), key=lambda item: -item[1][2]):
        where = name if path == "~" else f"{'/'.join(Path(path).parts[-2:])}:{line} {name}"
        lines.append(f"{own:8.2f}  {own / total:5.1%}  {calls:9,}  {where}")
    return "\n".join(lines[: PROFILE_LINES + 1])


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

    async def execute(self, query: str, *args: Any) -> str:
        return str(await self._timed(query, self._conn.execute, query, *args))

    async def fetch(self, query: str, *args: Any) -> list[asyncpg.Record]:
        rows: list[asyncpg.Record] = await self._timed(query, self._conn.fetch, query, *args)
        return rows

    async def copy_records_to_table(self, table: str, **options: Any) -> str:
        return str(await self._timed(f"COPY {table}", self._conn.copy_records_to_table, table, **options))

    async def _timed(self, query: str, call: Any, *args: Any, **options: Any) -> Any:
        text = " ".join(query.split())
        if self._explain and not text.startswith("COPY"):
            await self._plan(text, args[1:])
        began = time.perf_counter()
        result = await call(*args, **options)
        self._found.seconds[text].append(time.perf_counter() - began)
        return result

    async def _plan(self, text: str, args: tuple[Any, ...]) -> None:
        undone = self._conn.transaction()
        await undone.start()
        rows = await self._conn.fetch(f"EXPLAIN (ANALYZE, BUFFERS) {text}", *args)
        await undone.rollback()
        self._found.plans[text] = "\n".join(row[0] for row in rows)
