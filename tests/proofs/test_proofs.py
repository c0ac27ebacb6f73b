"""The short versions of the large proof: on servers of their own with dated terms, and on the session's system."""

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.proofs.history import Event, make_history, written
from tests.proofs.orders import ORDERS, returns_first
from tests.proofs.terms import SECOND_FROM

ROOT = Path(__file__).parents[2]
PREFIX = "proof-"
AT = "2026-11-21T00:00:00Z"
SEED = 20_261_122


def test_dated_terms_two_partitions_repeats_and_killed_workers() -> None:
    """The command, which says what it proves; README.md tells of its long version."""
    size = ["--events", "1500", "--members", "150"]
    command = [sys.executable, "-m", "tests.proofs", "--short", *size]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "proven: 1 run and the pure rules print the same, byte for byte" in done.stdout


def prefixed(event: Event) -> Event:
    """The event of a member whom no other test knows."""
    member_id = event["data"]["member_id"]
    return event | {"data": event["data"] | {"member_id": member_id and PREFIX + member_id}}


@pytest.mark.asyncio(loop_scope="session")
async def test_returns_first_on_twelve_partitions(system: Any) -> None:
    history = make_history(events=500, members=50, seed=SEED)
    events = [prefixed(event) for event in history.events]
    file = system.folder / "proof.jsonl"
    file.write_text("".join(map(written, events)))
    system.publish(returns_first(events, random.Random(SEED)))
    system.settle()
    for service in ("loyalty", "customer-status"):
        expected = system.run("kundenclub", "simulate", str(file), "--service", service, "--at", AT).stdout
        found = system.run(service, "state", "--at", AT).stdout.splitlines(keepends=True)
        assert "".join(line for line in found if f'"member_id":"{PREFIX}' in line) == expected
        assert expected.count("\n") == 50


def test_the_history_has_what_is_awkward_and_is_the_same_for_its_seed() -> None:
    """A proof over a history without returns, ties or turns of terms would prove little."""
    history = make_history(events=1500, members=150, seed=SEED)
    assert min(history.contains.values()) >= 1
    assert len(history.contains) == 17
    assert any(event["data"]["occurred_at"] >= SECOND_FROM.isoformat() for event in history.events)
    assert history == make_history(events=1500, members=150, seed=SEED)


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: order.__name__)
def test_an_order_loses_and_changes_nothing(order: Any) -> None:
    """It may repeat events, some under a new event id, which does not show in what the rules see."""
    events = make_history(events=300, members=30, seed=SEED).events
    log = [
        {**event, "data": {k: v for k, v in event["data"].items() if k != "sent"}}
        for event in order(events, random.Random(SEED))
    ]
    assert {written(event) for event in log} == {written(event) for event in events}
    assert order(events, random.Random(SEED)) != events
