"""The events this service reads and the one it publishes (contracts/schemas)."""

from typing import NamedTuple

import msgspec
from eventing.envelope import Event, new_message
from eventing.failures import Invalid
from eventing.records import Message
from programme.facts import Purchase, Refused, Return, accept, decode_json, require_member
from programme.instants import parse_instant
from programme.timeline import CUSTOMER_STATUS_CHANGED, TimelineChanged, encode_timeline

SOURCE = "urn:kundenclub:customer-status"
PURCHASES_TOPIC = "kundenclub.purchases"
MEMBERS_TOPIC = "kundenclub.members"
CUSTOMER_STATUS_TOPIC = "kundenclub.customer-status"
MEMBER_JOINED = "kundenclub.member.joined.v1"


class MemberJoined(NamedTuple):
    """A member joined the club."""

    member_id: str
    joined_us: int


class _WireJoined(msgspec.Struct):
    member_id: str
    joined_at: str


_JOINED = msgspec.json.Decoder(_WireJoined)


def read_fact(event: Event) -> Purchase | Return | None:
    """A purchase or return; None if it is nobody's. Raises Invalid where the rules refuse it (rules 3.1, 3.7)."""
    try:
        return accept(event.type, event.data, event.record.key, event.record.timestamp_us)
    except Refused as refused:
        raise Invalid(refused.reason, refused.detail) from None


def read_joined(event: Event) -> MemberJoined:
    """A member who joined. Raises Invalid where it is not what the contract says."""
    try:
        wire = decode_json(_JOINED, event.data)
        require_member(wire.member_id, event.record.key)
        if not wire.joined_at.startswith("20"):
            raise Invalid("invalid_instant", "joined_at: the year must be 2000 to 2099")
        return MemberJoined(wire.member_id, parse_instant(wire.joined_at))
    except Refused as refused:
        raise Invalid(refused.reason, refused.detail) from None
    except ValueError as error:
        raise Invalid("invalid_instant", f"joined_at: {error}") from None


def timeline_changed(account_no: int, change: TimelineChanged) -> Message:
    """The message of a changed timeline; its id is made of account and version, so a repeat has the same."""
    return new_message(
        CUSTOMER_STATUS_TOPIC,
        type=CUSTOMER_STATUS_CHANGED,
        source=SOURCE,
        key=change.member_id,
        data=encode_timeline(change),
        event_id=f"{account_no}-{change.generation}-{change.events}",
    )
