"""`python -m tests.proofs`: one history in several orders and partition counts through the whole system, one state.

Every run must print the same states byte for byte, and those are what the pure rules say (`kundenclub simulate`).
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from kundenclub.interrupts import stop_signals_interrupt

from tests.proofs.history import History, make_history
from tests.proofs.orders import (
    as_it_happened,
    backwards,
    returns_first,
    shuffled_with_repeats,
    tills_offline_for_months,
)
from tests.proofs.runs import Outcome, Plan, ProofFailed, Say, carry_out, simulated

CONTRACTS = Path(__file__).parents[2] / "contracts"
INSTANTS = ("2024-02-29T12:00:00Z", "2025-10-26T01:00:00Z", "2026-11-21T00:00:00Z", "2029-12-31T23:00:00Z")
PLANS = (
    Plan(as_it_happened, partitions=12),
    Plan(backwards, partitions=1),
    Plan(shuffled_with_repeats, partitions=3, workers=2, kills=2),
    Plan(returns_first, partitions=5, kills=1),
    Plan(tills_offline_for_months, partitions=24, workers=2),
)
SHOWN = 3
SHORT_PLANS = (Plan(shuffled_with_repeats, partitions=2, kills=1),)


def main() -> int:
    """0: proven. 1: a run differs, or could not be carried out."""
    parser = argparse.ArgumentParser(prog="python -m tests.proofs", description=__doc__)
    parser.add_argument("--events", type=int, default=50_000)
    parser.add_argument("--members", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=20_261_122)
    parser.add_argument("--short", action="store_true", help="one run and one instant")
    parser.add_argument("--runs", help="only these of the runs, such as 2,5: to go on where a proof was interrupted")
    options = parser.parse_args()
    plans, instants = (SHORT_PLANS, INSTANTS[2:3]) if options.short else (PLANS, INSTANTS)
    numbers = range(1, len(plans) + 1) if options.runs is None else [int(number) for number in options.runs.split(",")]
    if not set(numbers) <= set(range(1, len(plans) + 1)):
        parser.error(f"--runs: there are runs 1 to {len(plans)}")
    chosen = {number: plans[number - 1] for number in numbers}
    started = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - started:6.1f} s  {line}", flush=True)

    history = make_history(events=options.events, members=options.members, seed=options.seed)
    say(f"{len(history.events):,} events of {options.members:,} members, seed {options.seed}; among them")
    for what, count in sorted(history.contains.items()):
        print(f"          {count:>7,} {what}", flush=True)
    with stop_signals_interrupt(), tempfile.TemporaryDirectory(prefix="kundenclub-proof-") as folder:
        try:
            faults = _prove(history, chosen, instants, options.seed, Path(folder), say)
        except ProofFailed as failure:
            faults = [str(failure)]
        except KeyboardInterrupt:
            faults = ["interrupted"]
    for fault in faults:
        print(fault, file=sys.stderr)
    runs = "1 run" if len(chosen) == 1 else f"{len(chosen)} runs"
    say("NOT PROVEN" if faults else f"proven: {runs} and the pure rules print the same, byte for byte")
    return 1 if faults else 0


def _prove(
    history: History, plans: Mapping[int, Plan], instants: Sequence[str], seed: int, folder: Path, say: Say
) -> list[str]:
    """What is wrong, one text a fault; empty: nothing."""
    (folder / "rules").mkdir()
    expected = simulated(history.events, instants, CONTRACTS, folder / "rules")
    for (service, at), text in expected.states.items():
        say(f"by the rules, {service} at {at}: {text.count(chr(10)):,} members, sha256 {_hash(text)}")
    faults = []
    for number, plan in plans.items():
        say(f"run {number}: {plan}")
        own = folder / str(number)
        own.mkdir()
        outcome = carry_out(plan, history.events, instants, CONTRACTS, own, seed + number, say)
        found = _differences(expected, outcome, history.refused)
        say(f"run {number}: {'DIFFERS' if found else 'the same states'}")
        faults += [f"run {number} ({plan}): {fault}" for fault in found]
    return faults


def _differences(expected: Outcome, outcome: Outcome, refused: int) -> list[str]:
    faults = []
    for (service, at), text in outcome.states.items():
        due = expected.states[service, at]
        if text != due:
            lines, due_lines = text.splitlines(), due.splitlines()
            pairs = [pair for pair in zip(lines, due_lines, strict=False) if pair[0] != pair[1]]
            told = "".join(f"\n  is  {line}\n  due {due_line}" for line, due_line in pairs[:SHOWN])
            faults.append(f"{service} at {at}: {len(lines)} members, {len(due_lines)} due, {len(pairs)} differ{told}")
    if any(len(reasons) != refused for reasons in outcome.refused.values()):
        faults.append(f"{refused} events should be dead letters, and are: {outcome.refused}")
    return faults


def _hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:16]


if __name__ == "__main__":
    sys.exit(main())
