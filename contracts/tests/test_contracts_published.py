"""The judge of what services publish bites; published_plugin.py has it judge every message of every test."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from eventing import outbox
from eventing.envelope import new_message
from eventing.records import Message
from published import Contract

CONTRACTS = Path(__file__).resolve().parents[1]
TOPIC = "kundenclub.loyalty"
POSTED = "kundenclub.points.posted.v1"
EXAMPLE = json.loads((CONTRACTS / f"examples/good/{POSTED}/purchase.json").read_text())


@pytest.fixture(scope="module")
def judge() -> Contract:
    return Contract()


def message(data: Any = EXAMPLE, *, topic: str = TOPIC, type: str = POSTED, key: str | None = None) -> Message:
    key = EXAMPLE["member_id"] if key is None else key
    return new_message(topic, type=type, source="urn:test", key=key, data=json.dumps(data).encode(), event_id="1")


def without_header(name: str) -> Message:
    whole = message()
    return Message(whole.topic, whole.key, whole.value, tuple(each for each in whole.headers if each[0] != name))


def test_what_keeps_the_contract_is_counted(judge: Contract) -> None:
    assert judge.complaint(message()) is None
    assert judge.seen == {POSTED}


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (lambda: message(EXAMPLE | {"balance_points": "many"}), "/balance_points"),
        (lambda: message({name: EXAMPLE[name] for name in EXAMPLE if name != "event_no"}), "event_no"),
        (lambda: message(key="M2"), "key is not its member_id"),
        (lambda: message(topic="kundenclub.points"), "no such topic"),
        (lambda: message(topic="kundenclub.members"), "carries no kundenclub.points.posted.v1"),
        (lambda: message(type="kundenclub.points.lost.v1"), "carries no kundenclub.points.lost.v1"),
        (lambda: without_header("ce_time"), "no ce_time"),
        (lambda: without_header("content-type"), "content-type is None"),
        (lambda: Message(TOPIC, b"M1", None, ()), "without a value"),
    ],
)
def test_what_breaks_it_is_named(broken: Callable[[], Message], why: str, judge: Contract) -> None:
    assert why in (judge.complaint(broken()) or "")


def test_a_record_without_a_value_clears_a_key_of_a_compacted_topic(judge: Contract) -> None:
    assert judge.complaint(Message("kundenclub.members", b"M1", None, ())) is None


def test_what_our_services_write(judge: Contract) -> None:
    own = judge.own_types()
    assert {POSTED, "kundenclub.member.joined.v1", "kundenclub.customer-status.changed.v1"} <= own
    assert "kundenclub.purchase.completed.v1" not in own


def test_every_test_is_watched(contract: Contract) -> None:
    """The fixture of published_plugin.py is at work here too."""
    assert contract.watch in outbox.watchers
    for watch in outbox.watchers:
        watch([message(key="M2")])
    assert len(contract.complaints) == 1
    contract.complaints.clear()


def test_a_whole_run_in_which_a_type_was_never_published_fails() -> None:
    """The paths of the configuration, not of the command line, are what makes it a whole run."""
    little = "testpaths=tests/checks/test_promises.py"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", little]
    done = subprocess.run(command, cwd=CONTRACTS.parent, capture_output=True, text=True, timeout=120)
    assert (done.returncode, "No test made a service publish kundenclub." in done.stdout) == (1, True), done.stdout
