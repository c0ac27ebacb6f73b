"""`make bench`: measures the ledger engine on this machine and writes docs/benchmarks.md."""

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from devstack import DevstackError
from kundenclub.errors import Explained
from kundenclub.interrupts import run, stop_signals_interrupt

from tests.benchmarks import hotpath, machine
from tests.benchmarks.further import FURTHER
from tests.benchmarks.prepare import KEPT, grow, prepare
from tests.benchmarks.report import Document, HotPath
from tests.benchmarks.rounds import Plan, Rounds
from tests.benchmarks.servers import Servers, running_servers
from tests.benchmarks.workload import Workload, yesterday

FIGURES = ("a", "both", "b", "c", "d", "e", "f", "g", "h", *(figure.name for figure in FURTHER), "profile")
DOCUMENT = Path(__file__).parents[2] / "docs" / "benchmarks.md"
TIMED_BATCHES = 20


@dataclass(frozen=True)
class Options:
    """What the command line says; numbers it does not name depend on `quick`."""

    quick: bool
    only: frozenset[str]
    events: int
    members: int
    repetitions: int
    rows: int
    output: Path
    pgbench_seconds: int
    latency_seconds: float
    latency_rate: int
    posting_rate: int


def parse(arguments: Sequence[str]) -> Options:
    """Read the command line; exits with a message about what is wrong with it."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--events", type=int, help="records of the measured log (200,000)")
    parser.add_argument("--members", type=int, help="accounts (100,000)")
    parser.add_argument("--repetitions", "--repeat", type=int, help="rounds (5)")
    parser.add_argument("--rows", type=int, default=0, help="ledger rows for (e), which is left out without them")
    parser.add_argument("--only", help=f"figures, of {','.join(FIGURES)}; c, f and h need a and measure it too")
    parser.add_argument("--quick", action="store_true", help="few events: only to see that it works")
    parser.add_argument("--output", type=Path, default=DOCUMENT, help="the document to write")
    given = parser.parse_args(arguments)
    only = frozenset(FIGURES if given.only is None else given.only.split(","))
    if unknown := only - set(FIGURES):
        parser.error(f"--only: there is no {', '.join(sorted(unknown))}")
    quick: bool = given.quick
    return Options(
        quick=quick,
        only=only if given.rows else only - {"e"},
        events=given.events or (2_000 if quick else 200_000),
        members=given.members or (200 if quick else 100_000),
        repetitions=given.repetitions or (1 if quick else 5),
        rows=given.rows,
        output=given.output,
        pgbench_seconds=1 if quick else 5,
        latency_seconds=1.0 if quick else 15.0,
        latency_rate=200 if quick else 2_000,
        posting_rate=500 if quick else 5_000,
    )


async def bench(options: Options) -> Document:
    """Measure. Raises DevstackError, KafkaError and Explained where something does not run."""
    facts = machine.facts()
    workload = Workload(options.events, options.members, yesterday())
    async with running_servers() as servers:
        say("preparing databases and events")
        size = await prepare(servers, workload)
        rounds = Rounds(servers, _plan(options), say, further=FURTHER)
        rows, hot_path = 0, None
        try:
            if "e" in options.only:
                say(f"writing {options.rows:,} ledger rows")
                rows = await grow(servers, options.rows)
                say(f"written: {rows:,}")
            await rounds.run()
            if "profile" in options.only:
                say("profile")
                hot_path = await _hot_path(servers, workload)
        except (Exception, asyncio.CancelledError, KeyboardInterrupt) as error:  # what was measured is not lost
            rounds.failed["the rest"] = f"{type(error).__name__}: {error}"
    each = f"{options.events:,} records with {size / options.events:.0f} bytes of data each, 3 lines a purchase"
    return Document(
        command=_command(options),
        facts=facts,
        workload=f"{each}, {options.members:,} members, 20 % with a timeline, 1 % repeats, 3 % returns",
        labels={
            "rows": f"{rows:,}" if rows else "20 million",
            "rate": f"{options.latency_rate:,}",
            "posting": f"{options.posting_rate:,}",
        },
        samples=rounds.samples,
        hot_path=hot_path,
        failed=rounds.failed,
    )


def _command(options: Options) -> str:
    """What repeats the run."""
    given = ["--events", str(options.events), "--members", str(options.members)]
    given += ["--repetitions", str(options.repetitions), *(["--rows", str(options.rows)] if options.rows else [])]
    if missing := set(FIGURES) - options.only - {"e"}:
        given += ["--only", ",".join(name for name in FIGURES if name not in missing)]
    return f'make bench ARGS="{" ".join([*(["--quick"] if options.quick else []), *given])}"'


def _plan(options: Options) -> Plan:
    return Plan(
        only=options.only,
        repetitions=options.repetitions,
        members=options.members,
        pgbench_seconds=options.pgbench_seconds,
        latency_seconds=options.latency_seconds,
        latency_rate=options.latency_rate,
        posting_rate=options.posting_rate,
    )


async def _hot_path(servers: Servers, workload: Workload) -> HotPath:
    profile, wal = await hotpath.profile(servers), await hotpath.wal(servers)
    await servers.reset("loyalty", KEPT["loyalty"])
    batches = list(islice(workload.measured(), TIMED_BATCHES * hotpath.BATCH))
    return HotPath(wal, await hotpath.statements(servers, batches), profile)


def say(line: str) -> None:
    """A line of progress."""
    print(f"{time.strftime('%H:%M:%S')}  {line}", flush=True)


def main() -> None:
    """Exits with 1 and one line where servers or processes do not run."""
    options = parse(sys.argv[1:])
    try:
        with stop_signals_interrupt():
            document = run(bench(options))
    except (DevstackError, Explained) as error:
        raise SystemExit(str(error)) from None
    options.output.write_text(document.text())
    say(f"written: {options.output}")
    for name, why in document.failed.items():
        say(f"FAILED {name}: {why}")
    if document.failed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
