"""The rounds: in each, every figure is measured once, one after the other, so that a slow minute hits all of them."""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from kundenclub.contracts import PURCHASES

from tests.benchmarks.drain import Drained, drain
from tests.benchmarks.figures import Figure
from tests.benchmarks.floor import floor
from tests.benchmarks.latency import latencies
from tests.benchmarks.prepare import GROWN, KEPT
from tests.benchmarks.rebuild import rebuild_rate
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
    posting_rate: int


@dataclass
class Rounds:
    """Measures into `samples`."""

    servers: Servers
    plan: Plan
    say: Callable[[str], None]
    further: Sequence[Figure] = ()
    samples: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    failed: dict[str, str] = field(default_factory=dict)
    """What a figure ended with that could not be measured; it is not tried again."""

    async def run(self) -> None:
        """All rounds: first those in which loyalty works alone, then those with customer-status, because it adds
        timelines to the log; last what adds purchases, the latencies among it.
        """
        for number in range(self.plan.repetitions):
            self.say(f"round {number + 1} of {self.plan.repetitions}")
            if self.plan.only & {"a", "c", "f", "h"}:
                await self._measure("a", self._posting, always=True)
            await self._measure("d", self._single)
            await self._measure("e", self._grown)
            await self._measure_further(adding_purchases=False)
        for number in range(self.plan.repetitions):
            self.say(f"round {number + 1} of {self.plan.repetitions} with customer-status")
            await self._measure("both", self._both)
            await self._measure("b", self._levels)
        await self._measure("g", self._latencies)
        for _ in range(self.plan.repetitions):
            await self._measure_further(adding_purchases=True)

    async def _measure(self, name: str, work: Callable[[], Awaitable[None]], *, always: bool = False) -> None:
        """If it is wanted. What goes wrong is remembered, and the others go on."""
        if name in self.failed or not (always or name in self.plan.only):
            return
        try:
            await work()
        except Exception as error:
            self.failed[name] = f"{type(error).__name__}: {error}"
            self.say(f"  {name} FAILED: {self.failed[name]}")

    async def _posting(self) -> None:
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
        await self._measure("f", self._repeats)
        await self._measure("c", partial(self._floor, drained.events))
        await self._measure("h", self._rebuild)

    async def _repeats(self) -> None:
        await self._rewind()
        self._keep("f", (await self._loyalty(2)).rate)

    async def _floor(self, events: int) -> None:
        found = await floor(self.servers)
        self._keep("c", events / found.encoded_seconds)
        self._keep("c_python", events / found.python_seconds)

    async def _rebuild(self) -> None:
        self._keep("h", await rebuild_rate(self.servers))

    async def _single(self) -> None:
        await self.servers.reset("loyalty", KEPT["loyalty"])
        self._keep("d", await single_rate(self.servers, self.plan.members, self.plan.pgbench_seconds))

    async def _grown(self) -> None:
        await self.servers.reset("loyalty", GROWN)
        self._keep("e", (await self._loyalty(2)).rate)

    async def _measure_further(self, *, adding_purchases: bool) -> None:
        for figure in self.further:
            if figure.adds_purchases is adding_purchases:
                await self._measure(figure.name, partial(self._further, figure))

    async def _further(self, figure: Figure) -> None:
        for name, value in (await figure.measure(self.servers, self.plan)).items():
            self._keep(name, value)

    async def _levels(self) -> None:
        await self.servers.reset("customer-status", KEPT["customer-status"])
        self._keep("b", (await drain(self.servers, {"customer-status": 2}))["customer-status"].rate)

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
