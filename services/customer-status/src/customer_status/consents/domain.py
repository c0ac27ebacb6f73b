"""A member's decisions about being contacted; pure."""

from typing import NamedTuple

from programme.instants import MINUTE_US
from programme.terms import Terms

CLOCK_TOLERANCE_US = 10 * MINUTE_US


class Consent(NamedTuple):
    """What a member decided about one channel, when, and where they said so."""

    channel: str
    granted: bool
    source: str
    decided_us: int


def flaw_of(consent: Consent, terms: Terms, at_us: int) -> tuple[str, str] | None:
    """The field that is wrong with a decision, and what is."""
    if consent.channel not in terms.contacts.channels:
        return "channel", "must be one of " + ", ".join(terms.contacts.channels)
    if consent.decided_us > at_us + CLOCK_TOLERANCE_US:
        return "decided_at", "lies in the future"
    return None
