"""docs/benchmarks.md: all of it is written here, but for the notes of what was tried (notes.md beside this file)."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from tests.benchmarks.figures import MEASURED, TARGETS, Samples, spread
from tests.benchmarks.further import FURTHER
from tests.benchmarks.hotpath import Statements, WalBytes

NOTES = Path(__file__).with_name("notes.md")
NOT_MEASURED = "not measured"
LEAST_WAL_BYTES = 5
METHOD = """\
## How it is measured

- All processes are the real ones, on the embedded servers (fsync on, shared_buffers 512 MB, max_wal_size 4 GB), broker,
  databases and benchmark sharing the cores. Absolute figures move from run to run; ratios within a run count.
- A round measures everything once, one after the other; figures are medians over the rounds, in brackets the range.
  Ratios are taken within each round. What customer-status takes part in has rounds of its own after these, as it adds
  timelines to the log, and (g) and (j) come last, as they add purchases: their ratios are to (a) of the same number.
- Before each run the database is put back to one state: an account and a purchase for every member, a timeline for
  every fifth, left by the real workers. Then CHECKPOINT.
- The topic is loaded beforehand. Workers start, join and fetch while the benchmark holds the locks of the progress
  rows; the time runs from their release until the last progress row is at the end of the log.
- (c) is COPY of what (a) wrote, in batches of 500 events, twice: encoded beforehand, which is the strictest floor, and
  from Python values as asyncpg encodes them. The bounds are judged on both. (d) is one statement an event that
  decides nothing. (g) runs from the broker's stamp to the answer that shows the balance, asked for every 3 ms, through
  one worker and one HTTP process. (h) is the time of the command.
- (j) and (k) ask HTTP processes over kept connections, warmed up, their limit of 500 requests a second for a client
  switched off. In (j) everybody has points enough, members come at random, each again only when all had a turn, and
  pgbench decides by the balance alone; its rows beside the voucher are as long as the service's. Latencies of (j) run
  from instants fixed beforehand to the answer, with one worker. (k) and (l) are on generated members with
  ten purchases each; pgbench reads for (k) as one would write it by hand, by which the bound is judged, and by the
  service's own statement.
- WAL is the difference of pg_current_wal_lsn, full page images after the checkpoint included. Memory is PSS, the most
  that was seen.
"""
REFERENCE = """\
For comparison, measured by others' programs on such a machine on the same work: Kafka Streams with exactly_once_v2
15.7 k events/s (state in Kafka only, nothing can be spent), Formance ledger 284 credits/s, Blnk 330, TigerBeetle 29 k
in batches of 500 (numbers only).
"""


@dataclass(frozen=True)
class HotPath:
    """Where time and WAL go."""

    wal: Sequence[WalBytes]
    statements: Statements
    profile: str


@dataclass(frozen=True)
class Document:
    """What a run found out."""

    command: str
    facts: Mapping[str, str]
    workload: str
    labels: Mapping[str, str]
    """What the names of the figures leave open: `rows` and `rate`."""
    samples: Samples
    hot_path: HotPath | None
    failed: Mapping[str, str] = field(default_factory=dict)
    """What a figure ended with that could not be measured."""

    def text(self) -> str:
        """The whole document."""
        parts = [
            "# Benchmarks",
            f"Written by `{self.command}` on {datetime.now(UTC):%Y-%m-%d}. Do not edit: `make bench` writes it anew.",
            self._facts(),
            f"Workload: {self.workload}.",
            *([self._failures()] if self.failed else []),
            "## Against the bounds",
            self._targets(),
            "## Figures",
            self._figures(),
            REFERENCE,
            METHOD,
            "## Where time goes",
            NOT_MEASURED if self.hot_path is None else _hot_path(self.hot_path),
            NOTES.read_text(),
        ]
        return "\n\n".join(part.strip() for part in parts) + "\n"

    def _failures(self) -> str:
        rows = [f"- {name}: `{' '.join(why.split())[:500]}`" for name, why in self.failed.items()]
        return "\n".join(["This run ended with errors, so these figures are missing or of fewer rounds:", "", *rows])

    def _facts(self) -> str:
        return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in self.facts.items())])

    def _targets(self) -> str:
        rows = ["| figure | must | aim | measured | |", "|---|---|---|---|---|"]
        for target in (*TARGETS, *(target for figure in FURTHER for target in figure.targets)):
            found = spread(target.values(self.samples))
            measured = NOT_MEASURED if found is None else found.text(target.decimals) + target.unit
            verdict = "" if found is None else target.verdict(found.median)
            bounds = f"{target.bound(target.must)} | {target.bound(target.aim)}"
            rows.append(f"| {target.name} | {bounds} | {measured} | {verdict} |")
        return "\n".join(rows)

    def _figures(self) -> str:
        rows = ["| | median (range) |", "|---|---|"]
        measured = [*MEASURED.items(), *(item for figure in FURTHER for item in figure.measured.items())]
        for name, text in measured:
            found = spread(self.samples.get(name, []))
            rows.append(f"| {text.format(**self.labels)} | {NOT_MEASURED if found is None else found.text()} |")
        return "\n".join(rows)


def _hot_path(found: HotPath) -> str:
    parts = [_wal(found.wal), _statements(found.statements), _plans(found.statements)]
    profile = f"### Profile of one worker\n\nSampled by its processor time.\n\n```text\n{found.profile.rstrip()}\n```"
    return "\n\n".join([*parts, profile])


def _wal(kinds: Sequence[WalBytes]) -> str:
    rows = ["### WAL, bytes an event", "", "| kind of record | bytes | full page images among them |", "|---|---|---|"]
    rows += [f"| {kind} | {total:.0f} | {images:.0f} |" for kind, total, images in kinds if total >= LEAST_WAL_BYTES]
    return "\n".join(rows)


def _statements(statements: Statements) -> str:
    medians = {text: statistics.median(seconds) for text, seconds in statements.seconds.items()}
    rows = ["### Statements of a batch of 500 events, median", "", "| ms | statement |", "|---|---|"]
    rows += [f"| {median * 1000:.2f} | `{_short(text)}` |" for text, median in medians.items()]
    return "\n".join(rows)


def _plans(statements: Statements) -> str:
    plans = [f"```text\n{_short(text)}\n\n{plan}\n```" for text, plan in statements.plans.items()]
    return "\n\n".join(["### Plans of one such batch", *plans])


def _short(text: str, most: int = 150) -> str:
    return (text if len(text) <= most else f"{text[:most]} ...").replace("|", "\\|")
