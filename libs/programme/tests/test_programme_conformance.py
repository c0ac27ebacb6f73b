"""The conformance cases, made by an independent implementation of the rules: any order, any repetition, one answer."""

import json
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from programme.facts import Purchase, Return, accept
from programme.instants import parse_instant
from programme.state import state_of
from programme.terms import load_programme

CONTRACTS = Path(__file__).parents[3] / "contracts"
PROGRAMME = load_programme(CONTRACTS / "programme.toml")
CASES = [json.loads(line) for line in (CONTRACTS / "conformance" / "cases.jsonl").read_text().splitlines()]
FEW = 5

cases = pytest.mark.parametrize("case", CASES, ids=[case["case"] for case in CASES])


def accepted(case: dict[str, Any]) -> list[Purchase | Return]:
    """The events as the services would hear of them: as bytes, through the gate."""
    events = []
    for event in case["events"]:
        data, key = json.dumps(event["data"]).encode(), event["data"]["member_id"].encode()
        events.append(accept(event["type"], data, key, parse_instant(case["now"])))
    return [event for event in events if event is not None]


def outcome(case: dict[str, Any], events: list[Purchase | Return]) -> list[dict[str, Any]]:
    return [member.to_json() for member in state_of(PROGRAMME, events, parse_instant(case["now"]))]


@cases
def test_as_given(case: dict[str, Any]) -> None:
    assert outcome(case, accepted(case)) == case["expect"]


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, id=case["case"]) for case in CASES if 1 < len(case["events"]) <= FEW],
)
def test_in_every_order(case: dict[str, Any]) -> None:
    for events in permutations(accepted(case)):
        assert outcome(case, list(events)) == case["expect"]


@cases
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_shuffled_and_repeated(case: dict[str, Any], data: st.DataObject) -> None:
    events = accepted(case)
    again = data.draw(st.lists(st.sampled_from(events), max_size=5))
    assert outcome(case, data.draw(st.permutations(events + again))) == case["expect"]
