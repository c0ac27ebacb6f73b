"""Who is looked at, and what comes of a look; pure. What is due is decided by `programme.contacts`."""

from typing import NamedTuple

from programme.contacts import POINTS_EXPIRING, VOUCHER_EXPIRING, Contact, Notice
from programme.timeline import Timeline


class Look(NamedTuple):
    """A member to look at, as found; `wakes` tells whether somebody asked for another look meanwhile."""

    account_no: int
    member_id: str
    wakes: int
    events: int
    generation: int
    joined_us: int | None
    timeline: Timeline


class Recommendation(NamedTuple):
    """A contact for a member, over the channels they agreed to; `survey_id` if it asks for an answer."""

    look: Look
    contact: Contact
    channels: list[str]
    survey_id: str | None


class NoticeChange(NamedTuple):
    """What loyalty told: something will end (`notice`), or the voucher that would have is used or gone."""

    member_id: str
    event_no: int
    notice: Notice | None
    gone_voucher_id: str | None


def points_notice(received_us: int, points: int, expires_at: str, ends_us: int) -> Notice:
    """Points that expire; told once a boundary."""
    reason = {"points": points, "expires_at": expires_at}
    return Notice(POINTS_EXPIRING, expires_at, received_us, ends_us, reason)


def voucher_notice(received_us: int, voucher_id: str, value_cents: int, valid_until: str, ends_us: int) -> Notice:
    """A voucher that expires; told once for each end it has."""
    reason = {"voucher_id": voucher_id, "value_cents": value_cents, "valid_until": valid_until}
    return Notice(VOUCHER_EXPIRING, f"{voucher_id}:{valid_until}", received_us, ends_us, reason)
