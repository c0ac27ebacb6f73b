"""The events this service reads and the one it publishes (contracts/schemas)."""

from typing import NamedTuple

import msgspec
from eventing.envelope import Event, new_message
from eventing.failures import Invalid
from eventing.records import Message
from programme.facts import Purchase, Refused, Return, accept, decode_json, require_member
from programme.instants import format_instant, parse_instant
from programme.timeline import CUSTOMER_STATUS_CHANGED, TimelineChanged, encode_timeline

from customer_status.contacts.domain import Recommendation

SOURCE = "urn:kundenclub:customer-status"
PURCHASES_TOPIC = "kundenclub.purchases"
MEMBERS_TOPIC = "kundenclub.members"
CUSTOMER_STATUS_TOPIC = "kundenclub.customer-status"
CONTACTS_TOPIC = "kundenclub.contacts"
LOYALTY_TOPIC = "kundenclub.loyalty"
READ_TOPICS = (PURCHASES_TOPIC, MEMBERS_TOPIC, LOYALTY_TOPIC)
CONTACT_RECOMMENDED = "kundenclub.contact.recommended.v1"
MEMBER_JOINED = "kundenclub.member.joined.v1"
MEMBER_ERASED = "kundenclub.member.erased.v1"


class MemberJoined(NamedTuple):
    """A member joined the club."""

    member_id: str
    joined_us: int


class MemberErased(NamedTuple):
    """A member was erased."""

    member_id: str
    erased_us: int


class _WireJoined(msgspec.Struct):
    member_id: str
    joined_at: str


class _WireErased(msgspec.Struct):
    member_id: str
    erased_at: str


_JOINED = msgspec.json.Decoder(_WireJoined)
_ERASED = msgspec.json.Decoder(_WireErased)


def read_fact(event: Event) -> Purchase | Return | None:
    """A purchase or return; None if it is nobody's. Raises Invalid where the rules refuse it (rules 3.1, 3.7)."""
    try:
        return accept(event.type, event.data, event.record.key, event.record.timestamp_us)
    except Refused as refused:
        raise Invalid(refused.reason, refused.detail) from None


def read_member(event: Event) -> MemberJoined | MemberErased:
    """A member who joined or was erased. Raises Invalid where it is not what the contract says."""
    try:
        if event.type == MEMBER_ERASED:
            erased = decode_json(_ERASED, event.data)
            require_member(erased.member_id, event.record.key)
            return MemberErased(erased.member_id, _instant("erased_at", erased.erased_at))
        joined = decode_json(_JOINED, event.data)
        require_member(joined.member_id, event.record.key)
        return MemberJoined(joined.member_id, _instant("joined_at", joined.joined_at))
    except Refused as refused:
        raise Invalid(refused.reason, refused.detail) from None


def _instant(field: str, text: str) -> int:
    if not text.startswith("20"):
        raise Invalid("invalid_instant", f"{field}: the year must be 2000 to 2099")
    try:
        return parse_instant(text)
    except ValueError as error:
        raise Invalid("invalid_instant", f"{field}: {error}") from None


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


def timeline_gone(member_id: str) -> Message:
    """The tombstone that clears an erased member's timeline from its compacted topic."""
    return Message(CUSTOMER_STATUS_TOPIC, member_id.encode(), None, ())


def contact_recommended(contact_no: int, wanted: Recommendation, at_us: int) -> Message:
    """The message that recommends a contact; its id is made of the contact's number, so a repeat has the same."""
    contact = wanted.contact
    reason = dict(contact.reason) | ({} if wanted.survey_id is None else {"survey_id": wanted.survey_id})
    data = {
        "contact_no": contact_no,
        "member_id": wanted.look.member_id,
        "kind": contact.kind,
        "cause": contact.cause,
        "channels": wanted.channels,
        "recommended_at": format_instant(at_us),
        "until": format_instant(contact.until_us),
        "reason": reason,
    }
    return new_message(
        CONTACTS_TOPIC,
        type=CONTACT_RECOMMENDED,
        source=SOURCE,
        key=wanted.look.member_id,
        data=msgspec.json.encode(data),
        event_id=f"contact-{contact_no}",
    )
