"""What an offer is and who may claim it; pure. The database has the last word about seats (store.take_seat)."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from programme.benefit_terms import OfferKind
from programme.terms import LEVELS, Terms

MOST_SLOTS = 200


class Refusal(Enum):
    """Why an offer cannot be claimed; the values are the stable codes of the API."""

    CLOSED = "offer_closed"
    NOT_OPEN_YET = "not_open_yet"
    LEVEL_TOO_LOW = "level_too_low"
    FULL = "offer_full"


class Flaw(NamedTuple):
    """What is wrong with an offer as staff describe it."""

    field: str
    detail: str


class Slot(NamedTuple):
    """An appointment: one member, at a time, with somebody or somewhere (`label`)."""

    slot_no: int
    starts_us: int
    ends_us: int
    label: str
    is_free: bool = True


@dataclass(frozen=True, slots=True)
class Draft:
    """An offer as staff describe it. `capacity` None: no limit; consultations have slots instead."""

    kind: OfferKind
    title: str
    description: str
    least_level: str
    opens_us: int
    closes_us: int
    capacity: int | None
    invites: bool


@dataclass(frozen=True, slots=True)
class Offer:
    """An offer as it is kept; `claimed` counts the claims that are not cancelled."""

    offer_id: int
    draft: Draft
    claimed: int
    closed_us: int | None

    def refusal(self, level: str, at_us: int) -> Refusal | None:
        """Why a member of this level cannot claim it at this instant, as far as the offer's row tells."""
        if self.closed_us is not None or at_us >= self.draft.closes_us:
            return Refusal.CLOSED
        if at_us < self.draft.opens_us:
            return Refusal.NOT_OPEN_YET
        if not reaches(level, self.draft.least_level):
            return Refusal.LEVEL_TOO_LOW
        if self.draft.capacity is not None and self.claimed >= self.draft.capacity:
            return Refusal.FULL
        return None


class Claim(NamedTuple):
    """A seat, slot or discount a member has. A level lost later takes nothing away."""

    claim_no: int
    offer_id: int
    account_no: int
    slot_no: int | None
    level: str
    claimed_us: int
    cancelled_us: int | None


def reaches(level: str, least_level: str) -> bool:
    """Whether `level` is at least `least_level`."""
    return LEVELS.index(level) >= LEVELS.index(least_level)


def levels_up_to(level: str) -> tuple[str, ...]:
    """The least levels of the offers a member of this level may claim."""
    return LEVELS[: LEVELS.index(level) + 1]


def flaw_of(draft: Draft, terms: Terms) -> Flaw | None:
    """What the terms in force, or the parts of the offer among themselves, do not allow."""
    least = terms.offers.least_level[draft.kind]
    if not reaches(draft.least_level, least):
        return Flaw("least_level", f"an offer of kind {draft.kind} is for {least} and above")
    if draft.closes_us <= draft.opens_us:
        return Flaw("closes_at", "must be later than opens_at")
    if draft.kind == "event" and draft.capacity is None:
        return Flaw("capacity", "an event has a number of seats")
    if draft.kind == "consultation" and draft.capacity is not None:
        return Flaw("capacity", "a consultation has slots instead")
    return None


def slot_flaw(draft: Draft, slots: Sequence[Slot]) -> Flaw | None:
    """What is wrong with slots that are added."""
    if slots and draft.kind != "consultation":
        return Flaw("slots", "only a consultation has slots")
    for index, slot in enumerate(slots):
        if slot.ends_us <= slot.starts_us:
            return Flaw(f"slots/{index}/ends_at", "must be later than starts_at")
    return None
