"""What staff do with offers, and how members claim them. Each function is one transaction of its caller."""

from collections.abc import Sequence
from typing import NamedTuple

from eventing.database import Connection
from programme.instants import format_instant
from programme.terms import Terms
from programme.timeline import level_at
from webapi.problems import Malformed, Problem

from customer_status.errors import (
    AlreadyClaimed,
    CapacityBelowClaims,
    ClaimNotFound,
    LevelTooLow,
    MemberNotFound,
    NotOpenYet,
    OfferClosed,
    OfferFull,
    OfferNotFound,
    SlotNotFound,
    SlotOver,
    SlotTaken,
)
from customer_status.offers import store
from customer_status.offers.domain import MOST_SLOTS, Claim, Draft, Flaw, Offer, Refusal, Slot, flaw_of, slot_flaw
from customer_status.tiers.store import lock_known_member, read_timeline


class OfferWithSlots(NamedTuple):
    """An offer and its slots by time."""

    offer: Offer
    slots: list[Slot]


class Change(NamedTuple):
    """What staff make of an offer: the whole of it as it shall be, slots to add, and numbers of slots to remove."""

    draft: Draft
    added: Sequence[Slot]
    removed: Sequence[int]


async def create(
    conn: Connection, terms: Terms, draft: Draft, slots: Sequence[Slot], at_us: int, by: str
) -> OfferWithSlots:
    """A new offer. Raises Malformed for one that the terms in force do not allow."""
    _refuse_flaw(flaw_of(draft, terms) or slot_flaw(draft, slots))
    offer_id = await store.insert_offer(conn, draft, at_us, by)
    await store.add_slots(conn, offer_id, slots)
    return await read(conn, offer_id)


async def read(conn: Connection, offer_id: int) -> OfferWithSlots:
    """An offer. Raises OfferNotFound."""
    offer = await store.find_offer(conn, offer_id)
    if offer is None:
        raise OfferNotFound("there is no such offer")
    return OfferWithSlots(offer, (await store.slots_of(conn, [offer_id]))[offer_id])


async def lock(conn: Connection, offer_id: int) -> OfferWithSlots:
    """An offer that nobody else changes or claims until the transaction ends. Raises OfferNotFound."""
    await store.lock_offer(conn, offer_id)
    return await read(conn, offer_id)


async def change(
    conn: Connection, terms: Terms, locked: OfferWithSlots, wanted: Change, at_us: int, by: str
) -> OfferWithSlots:
    """Change a locked offer. Claims that were made stay, so the capacity cannot fall below them, nor can a slot that
    is taken be removed. Raises Malformed, OfferClosed, CapacityBelowClaims, SlotNotFound or SlotTaken.
    """
    offer, draft = locked.offer, wanted.draft
    _refuse_flaw(flaw_of(draft, terms) or slot_flaw(draft, wanted.added))
    if offer.closed_us is not None:
        raise OfferClosed("a closed offer stays as it is")
    if draft.capacity is not None and draft.capacity < offer.claimed:
        raise CapacityBelowClaims(f"{offer.claimed} seats are claimed", claimed=offer.claimed)
    known = {slot.slot_no: slot for slot in locked.slots}
    for slot_no in wanted.removed:
        if slot_no not in known:
            raise SlotNotFound(f"the offer has no slot {slot_no}")
        if not known[slot_no].is_free:
            raise SlotTaken(f"slot {slot_no} is taken: cancel its claim first", slot_no=slot_no)
    await store.update_offer(conn, offer.offer_id, draft, at_us, by)
    await store.remove_slots(conn, offer.offer_id, wanted.removed, at_us)
    await store.add_slots(conn, offer.offer_id, wanted.added)
    changed = await read(conn, offer.offer_id)
    if len(changed.slots) > MOST_SLOTS:
        raise Malformed.at("body", "add_slots", f"an offer has at most {MOST_SLOTS} slots")
    return changed


async def close(conn: Connection, offer_id: int, at_us: int, by: str) -> OfferWithSlots:
    """Close an offer before its end; closing it again changes nothing. Raises OfferNotFound."""
    await store.close_offer(conn, offer_id, at_us, by)
    return await read(conn, offer_id)


async def claimable(conn: Connection, account_no: int, after: int, limit: int, at_us: int) -> list[Offer]:
    """What this member may claim now and has not, by number of the offer."""
    level = level_at(await read_timeline(conn, account_no), at_us)
    return await store.claimable_after(conn, after, limit, account_no, level, at_us)


async def claim(conn: Connection, offer_id: int, member_id: str, slot_no: int | None, at_us: int) -> tuple[Claim, bool]:
    """Claim an offer for a member; the second value tells whether it is new. The same claim again changes nothing.

    The member's row is locked first, so the level is that of the timeline as it stands, whatever a worker is about to
    write; then the offer's, by taking a seat. Raises the problems of `customer_status.errors`.
    """
    account_no = await _locked(conn, member_id)
    held = await store.newest_claim(conn, offer_id, account_no)
    if held is not None and held.cancelled_us is None:
        if held.slot_no != slot_no:
            raise AlreadyClaimed("the member has another slot: cancel it first", slot_no=held.slot_no)
        return held, False
    level = level_at(await read_timeline(conn, account_no), at_us)
    if not await store.take_seat(conn, offer_id, level, at_us):
        raise await _reason(conn, offer_id, level, at_us)
    await _check_slot(conn, offer_id, slot_no, at_us)
    made = await store.insert_claim(conn, offer_id, account_no, slot_no, level, at_us)
    if made is None:
        raise SlotTaken("somebody was faster: choose another slot")
    return made, True


async def cancel(conn: Connection, offer_id: int, member_id: str, at_us: int) -> Claim:
    """Cancel a member's claim; its seat or slot is free again. Again changes nothing. Raises ClaimNotFound."""
    account_no = await _locked(conn, member_id)
    held = await store.newest_claim(conn, offer_id, account_no)
    if held is None:
        raise ClaimNotFound("the member has not claimed this offer")
    if held.cancelled_us is not None:
        return held
    await store.give_seat_back(conn, offer_id)  # the offer before its claims, as everywhere
    await store.cancel_claim(conn, held.claim_no, at_us)
    return held._replace(cancelled_us=at_us)


async def _locked(conn: Connection, member_id: str) -> int:
    account_no = await lock_known_member(conn, member_id)
    if account_no is None:
        raise MemberNotFound("no member has this member_id")
    return account_no


async def _reason(conn: Connection, offer_id: int, level: str, at_us: int) -> Problem:
    """Why no seat was to be had. Whoever finds one free by now came a moment too early for it."""
    offer = await store.find_offer(conn, offer_id)
    if offer is None:
        return OfferNotFound("there is no such offer")
    match offer.refusal(level, at_us):
        case Refusal.CLOSED:
            return OfferClosed("its period is over, or it was closed")
        case Refusal.NOT_OPEN_YET:
            return NotOpenYet("its period has not begun", opens_at=format_instant(offer.draft.opens_us))
        case Refusal.LEVEL_TOO_LOW:
            least = offer.draft.least_level
            return LevelTooLow(f"it is for {least} and above", level=level, least_level=least)
        case _:
            return OfferFull("all its seats are claimed")


async def _check_slot(conn: Connection, offer_id: int, slot_no: int | None, at_us: int) -> None:
    """Read after the offer was locked by taking a seat: no slot of it changes any more."""
    found = await read(conn, offer_id)
    if found.offer.draft.kind != "consultation":
        if slot_no is not None:
            raise Malformed.at("body", "slot_no", "only a consultation has slots")
        return
    if slot_no is None:
        raise Malformed.at("body", "slot_no", "a consultation is claimed by slot")
    slot = next((slot for slot in found.slots if slot.slot_no == slot_no), None)
    if slot is None:
        raise SlotNotFound(f"the offer has no slot {slot_no}")
    if not slot.is_free:
        raise SlotTaken("somebody has it: choose another slot")
    if slot.starts_us <= at_us:
        raise SlotOver("it has begun: choose a later slot")


def _refuse_flaw(flaw: Flaw | None) -> None:
    if flaw is not None:
        raise Malformed.at("body", flaw.field, flaw.detail)
