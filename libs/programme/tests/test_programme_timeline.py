"""Timelines: reading them, their event, and what is none."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from programme.facts import Refused
from programme.instants import parse_instant
from programme.terms import LEVELS, load_programme
from programme.timeline import (
    BASIS,
    Cause,
    Step,
    Timeline,
    TimelineChanged,
    bonus_percent_at,
    decode_timeline,
    encode_timeline,
    level_at,
    steps_from_json,
    steps_to_json,
    timeline_from_text,
)

PROGRAMME = load_programme(Path(__file__).parents[3] / "contracts" / "programme.toml")
WON_US = parse_instant("2026-11-22T09:15:30Z")
EARLIEST_US = parse_instant("1999-12-31T00:00:00Z")
LATEST_US = parse_instant("2100-12-31T23:00:00Z")
LAPSED_US = parse_instant("2027-11-21T23:00:00Z")
TIMELINE = (*BASIS, Step(WON_US, "silver"), Step(LAPSED_US, "basis"))
WIRE: dict[str, Any] = {
    "member_id": "M0001234",
    "generation": 1,
    "events": 2,
    "timeline": [
        {"after": None, "level": "basis"},
        {"after": "2026-11-22T09:15:30Z", "level": "silver"},
        {"after": "2027-11-21T23:00:00Z", "level": "basis"},
    ],
}


@st.composite
def timelines(draw: st.DrawFn) -> Timeline:
    instants = draw(st.lists(st.integers(EARLIEST_US, LATEST_US), unique=True, max_size=8).map(sorted))
    steps = list(BASIS)
    for us in instants:
        steps.append(Step(us, draw(st.sampled_from([level for level in LEVELS if level != steps[-1].level]))))
    return tuple(steps)


@given(timelines(), st.integers(EARLIEST_US - 1, LATEST_US + 1))
def test_a_step_holds_strictly_later_than_its_after(timeline: Timeline, us: int) -> None:
    holding = [step for step in timeline if step.after_us is None or step.after_us < us]
    assert level_at(timeline, us) == holding[-1].level


def test_a_purchase_at_the_instant_of_a_step_has_the_level_before() -> None:
    levels = [level_at(TIMELINE, us) for us in (WON_US, WON_US + 1, LAPSED_US, LAPSED_US + 1)]
    assert levels == ["basis", "silver", "silver", "basis"]
    assert [bonus_percent_at(PROGRAMME, TIMELINE, us) for us in (WON_US, LAPSED_US)] == [0, 10]


@given(timelines())
def test_timelines_survive_json_and_their_event(timeline: Timeline) -> None:
    text = json.dumps(steps_to_json(timeline))
    assert steps_from_json(json.loads(text)) == timeline_from_text(text) == timeline
    changed = TimelineChanged("M1", 3, 2**40, timeline, (Cause("return", "r1", WON_US),))
    assert decode_timeline(encode_timeline(changed), b"M1") == changed


def test_the_event_is_written_as_the_contract_shows_it() -> None:
    assert json.loads(encode_timeline(TimelineChanged("M0001234", 1, 2, TIMELINE))) == WIRE
    assert decode_timeline(json.dumps(WIRE).encode(), b"M0001234").steps == TIMELINE


STEP = WIRE["timeline"][1]


@pytest.mark.parametrize(
    ("reason", "changes"),
    [
        ("invalid_structure", {"timeline": None}),
        ("invalid_structure", {"timeline": [{"level": "basis"}]}),
        ("invalid_structure", {"generation": 0}),
        ("invalid_structure", {"generation": 2**31}),
        ("invalid_structure", {"generation": 1.0}),
        ("invalid_structure", {"events": True}),
        ("invalid_structure", {"events": 2**63}),
        ("invalid_id", {"member_id": "M 1"}),
        ("key_mismatch", {"member_id": "M1"}),
        ("invalid_timeline", {"timeline": []}),
        ("invalid_timeline", {"timeline": [STEP]}),
        ("invalid_timeline", {"timeline": [{"after": None, "level": "gold"}]}),
        ("invalid_timeline", {"timeline": [{"after": None, "level": "basis"}] * 2}),
        ("invalid_timeline", {"timeline": [*WIRE["timeline"], {**STEP, "after": "2027-11-21T23:00:00Z"}]}),
        ("invalid_timeline", {"timeline": [*WIRE["timeline"][:2], {**STEP, "after": "2026-11-23T00:00:00Z"}]}),
        ("invalid_timeline", {"timeline": [*WIRE["timeline"][:1], {**STEP, "level": "platinum"}]}),
        ("invalid_instant", {"timeline": [*WIRE["timeline"][:1], {**STEP, "after": "soon"}]}),
        ("invalid_instant", {"timeline": [*WIRE["timeline"][:1], {**STEP, "after": "9999-12-31T23:59:59-14:00"}]}),
    ],
)
def test_other_events_are_refused_with_a_stable_reason(reason: str, changes: dict[str, Any]) -> None:
    with pytest.raises(Refused) as refused:
        decode_timeline(json.dumps({**WIRE, **changes}).encode(), b"M0001234")
    assert refused.value.reason == reason


@pytest.mark.parametrize("stored", [[], [1], ["basis"], [{"after": 7, "level": "basis"}], [{}]])
def test_what_is_no_timeline_is_not_read_as_one(stored: list[Any]) -> None:
    with pytest.raises(Refused):
        steps_from_json(stored)
    with pytest.raises(Refused):
        timeline_from_text(json.dumps(stored))


@given(st.binary(max_size=40))
def test_whatever_bytes_arrive_they_are_read_or_refused(data: bytes) -> None:
    with pytest.raises(Refused):
        decode_timeline(data, b"M1")
