"""Samples by name, their medians and ranges, and what the figures must and should be."""

import statistics
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.benchmarks.rounds import Plan
    from tests.benchmarks.servers import Servers

Samples = Mapping[str, list[float]]
"""One value a repetition, in the order of the rounds."""


@dataclass(frozen=True)
class Spread:
    """The median of some repetitions and their range."""

    median: float
    least: float
    most: float

    def text(self, decimals: int = 0) -> str:
        """As it stands in tables."""
        median, least, most = (f"{value:,.{decimals}f}" for value in (self.median, self.least, self.most))
        return f"{median} ({least} - {most})"


def spread(values: list[float]) -> Spread | None:
    """None without values."""
    return Spread(statistics.median(values), min(values), max(values)) if values else None


@dataclass(frozen=True)
class Target:
    """A figure with its bounds; `values` computes it for each round that has what it needs."""

    name: str
    values: Callable[[Samples], list[float]]
    must: float
    aim: float
    decimals: int = 2
    unit: str = ""
    less_is_better: bool = False

    def verdict(self, median: float) -> str:
        """Which bound is kept."""
        sign = -1 if self.less_is_better else 1
        if sign * median >= sign * self.aim:
            return "aim reached"
        return "must reached" if sign * median >= sign * self.must else "**missed**"

    def bound(self, value: float) -> str:
        """A bound as it stands in tables."""
        return f"{value:g}{self.unit}"


def ratio(above: str, below: str) -> Callable[[Samples], list[float]]:
    """The quotient within each round."""
    return lambda samples: [a / b for a, b in zip(samples.get(above, []), samples.get(below, []), strict=False)]


def plain(name: str) -> Callable[[Samples], list[float]]:
    """The samples as they are."""
    return lambda samples: samples.get(name, [])


@dataclass(frozen=True)
class Figure:
    """A figure with a module of its own: what `--only` calls it, its rows in the document, and how it is measured.

    `measure` is called once a round, after those of loyalty alone, and puts the databases back itself before it begins.
    It returns samples by the names in `measured`; what it raises ends this figure and no other.
    """

    name: str
    measured: Mapping[str, str]
    """The names of its samples and their text in the document; `{rows}`, `{rate}` and `{posting}` may stand in it."""
    measure: "Callable[[Servers, Plan], Awaitable[Mapping[str, float]]]"
    targets: Sequence[Target] = ()
    adds_purchases: bool = False
    """To the log, which others read from its beginning: it is measured last."""


TARGETS = (
    Target("(a) 2 workers / (c) encoded beforehand", ratio("a2", "c"), 0.40, 0.65),
    Target("(a) 1 worker / (c) encoded beforehand", ratio("a1", "c"), 0.22, 0.35),
    Target("(a) 2 workers / (c) from Python values", ratio("a2", "c_python"), 0.40, 0.65),
    Target("(a) 1 worker / (c) from Python values", ratio("a1", "c_python"), 0.22, 0.35),
    Target("(a) 2 workers / (d)", ratio("a2", "d"), 2.5, 4),
    Target("(b) 2 workers / (a) 2 workers", ratio("b", "a2"), 0.6, 1),
    Target("(e) / (a), 2 workers, time-ordered purchase ids", ratio("e", "a2"), 0.65, 0.85),
    Target("(f) / (a), 2 workers", ratio("f", "a2"), 2, 4),
    Target("(g) p50", plain("g50"), 60, 25, 0, " ms", less_is_better=True),
    Target("(g) p99", plain("g99"), 250, 100, 0, " ms", less_is_better=True),
    Target("(h) / (a) 1 worker", ratio("h", "a1"), 1, 2),
    Target("(h) / (a) 2 workers", ratio("h", "a2"), 1, 2),
    Target("WAL bytes an event in (a), 1 worker", plain("a1_wal"), 1_000, 700, 0, less_is_better=True),
    Target("WAL bytes an event in (a), 2 workers", plain("a2_wal"), 1_000, 700, 0, less_is_better=True),
    Target("memory of a worker during (a)", plain("a_memory"), 250, 120, 0, " MiB", less_is_better=True),
)

MEASURED = {
    "a1": "(a) Kafka to ledger rows, 1 worker, events/s",
    "a2": "(a) Kafka to ledger rows, 2 workers, events/s",
    "a1_published": "(a) the same until everything is published too, 1 worker, events/s",
    "a2_published": "(a) the same until everything is published too, 2 workers, events/s",
    "a1_cpu": "(a) processor time of the worker, 1 worker, us an event",
    "a1_database_cpu": "(a) processor time of PostgreSQL, 1 worker, us an event",
    "a2_cpu": "(a) processor time of the workers, 2 workers, us an event",
    "a2_database_cpu": "(a) processor time of PostgreSQL, 2 workers, us an event",
    "both": "(a) with both services running, 1 worker each: loyalty, events/s",
    "both_settled": "(a) with both services running, 1 worker each: until all timelines are applied, events/s",
    "b": "(b) Kafka to levels, customer-status alone, 2 workers, events/s",
    "c": "(c) the floor: COPY of the same rows, encoded beforehand, one connection, events/s",
    "c_python": "(c) the floor: COPY of the same rows from Python values by asyncpg, one connection, events/s",
    "d": "(d) pgbench, one transaction an event, 16 clients, events/s",
    "e": "(e) as (a) with {rows} ledger rows there already, 2 workers, events/s",
    "f": "(f) repeats only, 2 workers, events/s",
    "g50": "(g) from Kafka to the balance over HTTP at {rate} events/s, p50, ms",
    "g99": "(g) the same, p99, ms",
    "h": "(h) rebuild, events/s",
}
