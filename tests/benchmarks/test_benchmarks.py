"""`make bench` works: a very short run measures something and writes all rows of the document. No time is judged."""

import asyncio
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from kundenclub.processes import ProcessFailed

from tests.benchmarks.figures import Figure
from tests.benchmarks.latency import LOST_S, judged
from tests.benchmarks.report import Document
from tests.benchmarks.rounds import Plan, Rounds
from tests.benchmarks.sampled import Sampler

ROOT = Path(__file__).parents[2]
MEASURED = (
    "(a) 2 workers / (c)",
    "(a) 1 worker / (c)",
    "(a) 2 workers / (d)",
    "WAL bytes an event",
    "memory of a worker",
    "(j) redeems over HTTP / pgbench, 1 process",
    "(j) redeems over HTTP / pgbench, 2 processes",
    "(j) p99 while posting / p99 without",
    "(j) purchases posted meanwhile, of 500 a second",
    "(l) segments of today",
    "(l) a snapshot",
)
NOT_MEASURED = (
    "(b) 2 workers / (a)",
    "(e) / (a)",
    "(f) / (a)",
    "(g) p50",
    "(g) p99",
    "(h) / (a)",
    "(i) with samples",
    "(k) statuses",
)


def test_a_short_run_writes_every_row(tmp_path: Path) -> None:
    document = tmp_path / "benchmarks.md"
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", "--quick", "--only", "a,c,d,j,l", "--output", str(document)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line for line in document.read_text().splitlines() if line.startswith("| ")]
    for names, is_measured in ((MEASURED, True), (NOT_MEASURED, False)):
        for name in names:
            found = [row for row in rows if row.startswith(f"| {name}")]
            assert found, name
            assert all(("not measured" not in row) is is_measured for row in found), found


PLAN = Plan(
    frozenset({"good", "bad"}), 2, members=1, pgbench_seconds=1, latency_seconds=1.0, latency_rate=1, posting_rate=1
)


def test_a_figure_that_fails_is_named_and_stops_no_other() -> None:
    async def good(servers: Any, plan: Plan) -> Mapping[str, float]:
        return {"good": 1.0}

    async def bad(servers: Any, plan: Plan) -> Mapping[str, float]:
        raise ProcessFailed("ended\nbadly")

    figures = [Figure("bad", {}, bad), Figure("good", {}, good)]
    servers: Any = None
    rounds = Rounds(servers, PLAN, lambda line: None, further=figures)
    asyncio.run(rounds.run())
    assert rounds.samples == {"good": [1.0, 1.0]}
    assert rounds.failed == {"bad": "ProcessFailed: ended\nbadly"}
    labels = {"rows": "1", "rate": "1", "posting": "1"}
    text = Document("make bench", {}, "none", labels, rounds.samples, None, rounds.failed).text()
    assert "- bad: `ProcessFailed: ended badly`" in text


def test_a_lost_sample_counts_as_long_as_it_was_waited_for() -> None:
    found: list[Any] = [TimeoutError(), *(float(n) for n in range(99))]
    latencies = judged(found, 1_990.0, 2_000)
    assert (latencies.percentile(50), latencies.percentile(99)) == (50.0, LOST_S * 1000)


@pytest.mark.parametrize(
    ("found", "published", "why"),
    [([1.0], 1_800.0, "only 1,800 of 2,000"), ([1.0, ConnectionError("gone")], 2_000.0, "1 of 2 samples were lost")],
)
def test_latencies_of_another_load_or_of_few_samples_are_none(found: list[Any], published: float, why: str) -> None:
    with pytest.raises(ProcessFailed, match=why):
        judged(found, published, 2_000)


def test_the_profile_tells_own_time_from_that_of_callees() -> None:
    sampler = Sampler()

    def inner() -> None:
        sampler.take(0, sys._getframe())

    def outer() -> None:
        inner()
        sampler.take(0, sys._getframe())

    outer()
    own = {name.rpartition(".")[2]: count for name, count in sampler.own.items()}
    whole = {name.rpartition(".")[2]: count for name, count in sampler.whole.items()}
    assert own == {"inner": 1, "outer": 1}
    assert (whole["inner"], whole["outer"]) == (1, 2)
