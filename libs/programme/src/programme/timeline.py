"""A member's levels over time (rules 3.6): what customer-status publishes and loyalty rates purchases by."""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

from programme.facts import BUSINESS_ID, Refused, decode_json, require_member
from programme.instants import format_instant, parse_instant
from programme.terms import BASE_LEVEL, LEVELS, Programme

CUSTOMER_STATUS_CHANGED = "kundenclub.customer-status.changed.v1"
MOST_CAUSES = 20


class Step(NamedTuple):
    """`level` holds for instants strictly later than `after_us`; None: since ever."""

    after_us: int | None
    level: str


Timeline = tuple[Step, ...]

BASIS: Timeline = (Step(None, BASE_LEVEL),)


class Cause(NamedTuple):
    """A purchase or return that arrived and changed a timeline; `kind` is `purchase` or `return`.

    `occurred_us` is the instant from which it can have changed a level: of a return, not before its purchase's.
    """

    kind: str
    id: str
    occurred_us: int


class TimelineChanged(msgspec.Struct, frozen=True):
    """The whole timeline of a member. Of two, the one with the greater (generation, events) is the newer.

    `causes` are what arrived with this change of it, by instant, at most `MOST_CAUSES`; none are known when it was
    computed anew. They explain, they decide nothing.
    """

    member_id: str
    generation: int
    events: int
    steps: Timeline
    causes: tuple[Cause, ...] = ()


def level_at(timeline: Sequence[Step], us: int) -> str:
    """The level a purchase made at `us` is rated by."""
    return step_at(timeline, us).level


def step_at(timeline: Sequence[Step], us: int) -> Step:
    """The step that holds for a purchase made at `us`."""
    return timeline[bisect_left(timeline, us, lo=1, key=_after_us) - 1]


def bonus_percent_at(programme: Programme, timeline: Sequence[Step], us: int) -> int:
    """The bonus rate of a purchase made at `us`: its level then, by the terms in force then (rules 3.5)."""
    return programme.at(us).bonus_percent[level_at(timeline, us)]


def steps_to_json(timeline: Sequence[Step]) -> list[dict[str, Any]]:
    """`[{"after": null, "level": "basis"}, {"after": "<instant>", "level": ...}]`."""
    return [
        {"after": None if step.after_us is None else format_instant(step.after_us), "level": step.level}
        for step in timeline
    ]


def steps_from_json(steps: Sequence[Any]) -> Timeline:
    """The inverse of `steps_to_json`. Raises Refused for anything that is not a timeline."""
    try:
        return _timeline(msgspec.convert(steps, list[_WireStep]))
    except msgspec.ValidationError as error:
        raise Refused("invalid_structure", str(error)) from None


def timeline_from_text(text: str) -> Timeline:
    """The same of JSON text. Raises Refused."""
    try:
        return _timeline(_STEPS(text))
    except msgspec.DecodeError as error:
        raise Refused("invalid_structure", str(error)) from None


def encode_timeline(changed: TimelineChanged) -> bytes:
    """The data of a `CUSTOMER_STATUS_CHANGED` event."""
    wire: dict[str, Any] = {
        "member_id": changed.member_id,
        "generation": changed.generation,
        "events": changed.events,
        "timeline": steps_to_json(changed.steps),
    }
    if changed.causes:
        wire["causes"] = [
            {"kind": cause.kind, "id": cause.id, "occurred_at": format_instant(cause.occurred_us)}
            for cause in changed.causes
        ]
    return msgspec.json.encode(wire)


def decode_timeline(data: bytes, key: bytes | None) -> TimelineChanged:
    """Read the data of a `CUSTOMER_STATUS_CHANGED` event. Raises Refused, and nothing else."""
    wire = decode_json(_DECODER, data)
    require_member(wire.member_id, key)
    causes = tuple(_cause(cause) for cause in wire.causes)
    return TimelineChanged(wire.member_id, wire.generation, wire.events, _timeline(wire.timeline), causes)


_Generation = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
_Events = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
# Purchases are dated 2000 to 2099 as written, and the levels they win lapse a year later.
_EARLIEST_US = parse_instant("1999-12-30T00:00:00Z")
_LATEST_US = parse_instant("2101-01-02T00:00:00Z")


class _WireStep(msgspec.Struct):
    after: str | None
    level: str


class _WireCause(msgspec.Struct):
    kind: Literal["purchase", "return"]
    id: str
    occurred_at: str


class _WireTimeline(msgspec.Struct):
    member_id: str
    generation: _Generation
    events: _Events
    timeline: list[_WireStep]
    causes: Annotated[list[_WireCause], msgspec.Meta(max_length=MOST_CAUSES)] = []


_DECODER = msgspec.json.Decoder(_WireTimeline)
_STEPS = msgspec.json.Decoder(list[_WireStep]).decode


def _after_us(step: Step) -> int:
    assert step.after_us is not None, "only the first step holds since ever"
    return step.after_us


def _timeline(wire: Sequence[_WireStep]) -> Timeline:
    steps = tuple(_step(step) for step in wire)
    if steps[:1] != BASIS:
        raise Refused("invalid_timeline", "timeline: must begin with basis since ever")
    for earlier, later in pairwise(steps):
        if later.after_us is None or (earlier.after_us is not None and later.after_us <= earlier.after_us):
            raise Refused("invalid_timeline", "timeline: `after` must grow from step to step")
        if later.level == earlier.level:
            raise Refused("invalid_timeline", "timeline: adjacent steps must differ in level")
    return steps


def _cause(wire: _WireCause) -> Cause:
    if not BUSINESS_ID.fullmatch(wire.id):
        raise Refused("invalid_id", "causes: id is not a purchase_id or return_id")
    try:
        return Cause(wire.kind, wire.id, parse_instant(wire.occurred_at))
    except ValueError as error:
        raise Refused("invalid_instant", f"causes: occurred_at is {error}") from None


def _step(wire: _WireStep) -> Step:
    if wire.level not in LEVELS:
        raise Refused("invalid_timeline", "timeline: level must be one of " + ", ".join(LEVELS))
    if wire.after is None:
        return Step(None, wire.level)
    try:
        after_us = parse_instant(wire.after)
    except ValueError as error:
        raise Refused("invalid_instant", f"timeline: after is {error}") from None
    if not _EARLIEST_US <= after_us <= _LATEST_US:
        raise Refused("invalid_instant", "timeline: after must be within a year of what purchases may be dated")
    return Step(after_us, wire.level)
