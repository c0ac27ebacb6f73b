"""The JSON of offers and claims."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any

from programme.benefit_terms import OfferKind
from programme.calendar import civil_day
from programme.facts import MEMBER_ID
from programme.instants import from_datetime, to_datetime
from programme.terms import WON_LEVELS
from pydantic import AfterValidator, Field, model_validator
from webapi.models import Instant, Model

from customer_status.offers.domain import MOST_SLOTS, Claim, Draft, Offer, Slot


def _in_calendar(value: datetime) -> datetime:
    civil_day(from_datetime(value))  # the calendar ends where events do
    return value


CalendarInstant = Annotated[Instant, AfterValidator(_in_calendar)]
WonLevel = Annotated[str, Field(pattern=f"^({'|'.join(WON_LEVELS)})$")]
Title = Annotated[str, Field(min_length=1, max_length=200)]
Description = Annotated[str, Field(max_length=2_000)]
Capacity = Annotated[int, Field(ge=1, le=1_000_000, description="Seats; null: no limit, or that of the slots")]
SlotNo = Annotated[int, Field(ge=1, lt=2**31)]


class SlotRequest(Model):
    """An appointment to offer."""

    starts_at: CalendarInstant
    ends_at: CalendarInstant
    label: Annotated[str, Field(max_length=200, description="With whom or where")] = ""


Slots = Annotated[list[SlotRequest], Field(max_length=MOST_SLOTS)]


class NewOffer(Model):
    """An offer as staff describe it."""

    kind: OfferKind
    title: Title
    description: Description = ""
    least_level: WonLevel
    opens_at: CalendarInstant
    closes_at: Annotated[CalendarInstant, Field(description="It can be claimed before this instant")]
    capacity: Capacity | None = None
    invites: Annotated[bool, Field(description="Whether members who may claim it are told of it")] = True
    slots: Slots = Field(default_factory=list)


class OfferChange(Model):
    """What to change; what is not named stays. The kind of an offer never changes."""

    title: Title | None = None
    description: Description | None = None
    least_level: WonLevel | None = None
    opens_at: CalendarInstant | None = None
    closes_at: CalendarInstant | None = None
    capacity: Capacity | None = None
    invites: bool | None = None
    add_slots: Slots = Field(default_factory=list)
    remove_slots: Annotated[list[SlotNo], Field(max_length=MOST_SLOTS)] = Field(default_factory=list)

    @model_validator(mode="after")
    def _only_capacity_may_be_null(self) -> "OfferChange":
        nulls = [name for name in self.model_fields_set if getattr(self, name) is None and name != "capacity"]
        if nulls:
            raise ValueError(f"{min(nulls)} cannot be null: leave it out")
        return self

    def applied_to(self, draft: Draft) -> Draft:
        """The offer as it shall be."""
        named: dict[str, Any] = {
            name: getattr(self, name)
            for name in ("title", "description", "least_level", "capacity", "invites")
            if name in self.model_fields_set
        }
        if self.opens_at is not None:
            named["opens_us"] = from_datetime(self.opens_at)
        if self.closes_at is not None:
            named["closes_us"] = from_datetime(self.closes_at)
        return replace(draft, **named)


class SlotBody(Model):
    """An appointment of a consultation."""

    slot_no: int
    starts_at: Instant
    ends_at: Instant
    label: str
    is_free: bool


class OfferBody(Model):
    """An offer. `claimed` counts the claims that are not cancelled."""

    offer_id: int
    kind: OfferKind
    title: str
    description: str
    least_level: str
    opens_at: Instant
    closes_at: Instant
    capacity: int | None
    claimed: int
    invites: bool
    closed_at: Annotated[Instant | None, Field(description="When staff closed it before its end")]
    slots: list[SlotBody]


class ClaimRequest(Model):
    """For whom; of a consultation also which slot."""

    member_id: Annotated[str, Field(pattern=f"^{MEMBER_ID.pattern}$")]
    slot_no: SlotNo | None = None


class ClaimBody(Model):
    """A claim; `level` is the member's when it was made."""

    claim_no: int
    offer_id: int
    member_id: Annotated[str | None, Field(description="null: the member was erased")]
    slot_no: int | None
    level: str
    claimed_at: Instant
    cancelled_at: Instant | None


def draft_of(body: NewOffer) -> Draft:
    """The offer that is asked for."""
    return Draft(
        kind=body.kind,
        title=body.title,
        description=body.description,
        least_level=body.least_level,
        opens_us=from_datetime(body.opens_at),
        closes_us=from_datetime(body.closes_at),
        capacity=body.capacity,
        invites=body.invites,
    )


def slots_from(bodies: Sequence[SlotRequest]) -> list[Slot]:
    """Slots without numbers yet."""
    return [Slot(0, from_datetime(body.starts_at), from_datetime(body.ends_at), body.label) for body in bodies]


def offer_body(offer: Offer, slots: Sequence[Slot]) -> OfferBody:
    """An offer with its slots."""
    draft = offer.draft
    return OfferBody(
        offer_id=offer.offer_id,
        kind=draft.kind,
        title=draft.title,
        description=draft.description,
        least_level=draft.least_level,
        opens_at=to_datetime(draft.opens_us),
        closes_at=to_datetime(draft.closes_us),
        capacity=draft.capacity,
        claimed=offer.claimed,
        invites=draft.invites,
        closed_at=None if offer.closed_us is None else to_datetime(offer.closed_us),
        slots=[_slot_body(slot) for slot in slots],
    )


def claim_body(claim: Claim, member_id: str | None) -> ClaimBody:
    """A claim of this member."""
    return ClaimBody(
        claim_no=claim.claim_no,
        offer_id=claim.offer_id,
        member_id=member_id,
        slot_no=claim.slot_no,
        level=claim.level,
        claimed_at=to_datetime(claim.claimed_us),
        cancelled_at=None if claim.cancelled_us is None else to_datetime(claim.cancelled_us),
    )


def _slot_body(slot: Slot) -> SlotBody:
    return SlotBody(
        slot_no=slot.slot_no,
        starts_at=to_datetime(slot.starts_us),
        ends_at=to_datetime(slot.ends_us),
        label=slot.label,
        is_free=slot.is_free,
    )
