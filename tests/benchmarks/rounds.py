"""The rounds: in each, every figure is measured once, one after the other, so that a slow minute hits all of them."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from kundenclub.contracts import PURCHASES

from tests.benchmarks.drain import Drained, drain
from tests.benchmarks.floor import copy_seconds
from tests.benchmarks.latency import latencies
from tests.benchmarks.prepare import GROWN, KEPT
from tests.benchmarks.rebuild import is_there, rebuild_rate
from tests.benchmarks.servers import SERVICES, Servers
from tests.benchmarks.singles import single_rate

MIB = 2**20
MICRO = 1e6


@dataclass(frozen=True)
class Plan:
    """What to measure and how long. `only` holds the letters of the figures, and "both"."""

    only: frozenset[str]
    repetitions: int
    members: int
    pgbench_seconds: int
    latency_seconds: float
    latency_rate: int


@dataclass
class Rounds:
    """Measures into `samples`."""

    servers: Servers
    plan: Plan
    say: Callable[[str], None]
    samples: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    async def run(self) -> None:
        """All rounds: first those in which loyalty works alone, then those with customer-status, because it adds
        timelines to the log; the latencies last, because they add purchases.
        """
        with_rebuild = "h" in self.plan.only and await is_there(self.servers)
        for number in range(self.plan.repetitions):
            self.say(f"round {number + 1} of {self.plan.repetitions}")
            if self.plan.only & {"a", "c", "f", "h"}:
                await self._posting(with_rebuild)
            if "d" in self.plan.only:
                await self.servers.reset("loyalty", KEPT["loyalty"])
                self._keep("d", await single_rate(self.servers, self.plan.members, self.plan.pgbench_seconds))
            if "e" in self.plan.only:
                await self.servers.reset("loyalty", GROWN)
                self._keep("e", (await self._loyalty(2)).rate)
        for number in range(self.plan.repetitions):
            self.say(f"round {number + 1} of {self.plan.repetitions} with customer-status")
            if "both" in self.plan.only:
                await self._both()
            if "b" in self.plan.only:
                await self.servers.reset("customer-status", KEPT["customer-status"])
                self._keep("b", (await drain(self.servers, {"customer-status": 2}))["customer-status"].rate)
        if "g" in self.plan.only:
            await self._latencies()

    async def _posting(self, with_rebuild: bool) -> None:
        """(a), and what needs the rows that it leaves behind."""
        for workers in (1, 2):
            await self.servers.reset("loyalty", KEPT["loyalty"])
            drained = await self._loyalty(workers)
            self._keep(f"a{workers}", drained.rate)
            self._keep(f"a{workers}_published", drained.events / drained.published_seconds)
            self._keep(f"a{workers}_wal", drained.wal_bytes / drained.events)
            self._keep(f"a{workers}_cpu", drained.worker_cpu_seconds / drained.events * MICRO)
            self._keep(f"a{workers}_database_cpu", drained.database_cpu_seconds / drained.events * MICRO)
            self._keep("a_memory", drained.worker_bytes / MIB)
        if "f" in self.plan.only:
            await self._rewind()
            self._keep("f", (await self._loyalty(2)).rate)
        if "c" in self.plan.only:
            self._keep("c", drained.events / await copy_seconds(self.servers))
        if with_rebuild:
            self._keep("h", await rebuild_rate(self.servers))

    async def _both(self) -> None:
        for service in SERVICES:
            await self.servers.reset(service, KEPT[service])
        loyalty = (await drain(self.servers, dict.fromkeys(SERVICES, 1)))["loyalty"]
        self._keep("both", loyalty.rate)
        self._keep("both_settled", loyalty.events / loyalty.published_seconds)

    async def _latencies(self) -> None:
        for _ in range(self.plan.repetitions):
            await self.servers.reset("loyalty", KEPT["loyalty"], purchases_too=True)
            found = await latencies(
                self.servers,
                members=self.plan.members,
                rate=self.plan.latency_rate,
                seconds=self.plan.latency_seconds,
            )
            self._keep("g50", found.percentile(50))
            self._keep("g99", found.percentile(99))

    async def _loyalty(self, workers: int) -> Drained:
        return (await drain(self.servers, {"loyalty": workers}))["loyalty"]

    async def _rewind(self) -> None:
        """Back to before the measured events, which are all known then."""
        async with self.servers.admin("loyalty") as conn, self.servers.admin(KEPT["loyalty"]) as kept:
            rows = await kept.fetch("SELECT next_offset, partition FROM event_progress WHERE topic = $1", PURCHASES)
            await conn.executemany(
                f"UPDATE event_progress SET next_offset = $1 WHERE topic = '{PURCHASES}' AND partition = $2",
                [tuple(row) for row in rows],
            )
            await conn.execute("CHECKPOINT")

    def _keep(self, name: str, value: float) -> None:
        self.samples[name].append(value)
        self.say(f"  {name:<13} {value:>10,.1f}")
