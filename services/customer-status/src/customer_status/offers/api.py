"""Offers over HTTP: staff create, change and close them; members claim them through a shop, a till or staff."""

from collections.abc import Sequence
from typing import Annotated

from eventing.database import Connection
from fastapi import APIRouter, Path, Query, Response
from programme.facts import MEMBER_ID
from webapi.auth import Caller, require
from webapi.database import RequestSnapshot, RequestTransaction
from webapi.idempotency import PROBLEMS as IDEMPOTENCY_PROBLEMS
from webapi.idempotency import IdempotentRoute, idempotent
from webapi.pages import Page, PageOf, paged
from webapi.problems import responses

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
from customer_status.offers import service, store
from customer_status.offers.bodies import (
    ClaimBody,
    ClaimRequest,
    NewOffer,
    OfferBody,
    OfferChange,
    claim_body,
    draft_of,
    offer_body,
    slots_from,
)
from customer_status.offers.domain import Offer
from customer_status.parameters import MemberId, Now, TheProgramme
from customer_status.tiers.store import find_account_no

router = APIRouter(tags=["offers"], route_class=IdempotentRoute)

OfferId = Annotated[int, Path(ge=1, lt=2**63, description="The offer, as `POST /v1/offers` numbered it")]
WantedMember = Annotated[
    str | None, Query(pattern=f"^{MEMBER_ID.pattern}$", description="Only what this member may claim now")
]


@router.post("/v1/offers", status_code=201, responses=responses(*IDEMPOTENCY_PROBLEMS))
async def create_offer(
    body: NewOffer,
    transaction: RequestTransaction,
    programme: TheProgramme,
    now: Now,
    caller: Annotated[Caller, idempotent("offers:write")],
) -> OfferBody:
    """A new offer: a discount campaign, a consultation with slots, or an event with seats. Staff only."""
    draft, slots = draft_of(body), slots_from(body.slots)
    return offer_body(*await service.create(transaction, programme.at(now), draft, slots, now, caller.identity))


@router.get("/v1/offers", responses=responses(MemberNotFound))
async def list_offers(
    page: Annotated[Page, paged(int)],
    snapshot: RequestSnapshot,
    now: Now,
    caller: Annotated[Caller, require("members:read")],
    member_id: WantedMember = None,
) -> PageOf[OfferBody]:
    """With `member_id`: what the member may claim now and has not. Without: all offers. In the order of creation."""
    after = int(page.after[0]) if page.after else 0
    if member_id is None:
        found: Sequence[Offer] = await store.offers_after(snapshot, after, page.fetch)
    else:
        account_no = await _account_no(snapshot, member_id)
        found = await service.claimable(snapshot, account_no, after, page.fetch, now)
    shown, cursor = page.split(found, lambda offer: (offer.offer_id,))
    slots = await store.slots_of(snapshot, [offer.offer_id for offer in shown])
    return PageOf[OfferBody](items=[offer_body(offer, slots[offer.offer_id]) for offer in shown], next_cursor=cursor)


@router.get("/v1/offers/{offer_id}", responses=responses(OfferNotFound))
async def read_offer(
    offer_id: OfferId, snapshot: RequestSnapshot, caller: Annotated[Caller, require("members:read")]
) -> OfferBody:
    """One offer, open or not."""
    return offer_body(*await service.read(snapshot, offer_id))


@router.patch(
    "/v1/offers/{offer_id}",
    responses=responses(OfferNotFound, SlotNotFound, OfferClosed, CapacityBelowClaims, SlotTaken),
)
async def change_offer(
    offer_id: OfferId,
    body: OfferChange,
    transaction: RequestTransaction,
    programme: TheProgramme,
    now: Now,
    caller: Annotated[Caller, require("offers:write")],
) -> OfferBody:
    """Change what is named, leave the rest. Claims that were made stay. Staff only."""
    locked = await service.lock(transaction, offer_id)
    wanted = service.Change(body.applied_to(locked.offer.draft), slots_from(body.add_slots), body.remove_slots)
    terms = programme.at(now)
    return offer_body(*await service.change(transaction, terms, locked, wanted, now, caller.identity))


@router.post("/v1/offers/{offer_id}/close", responses=responses(OfferNotFound))
async def close_offer(
    offer_id: OfferId,
    transaction: RequestTransaction,
    now: Now,
    caller: Annotated[Caller, require("offers:write")],
) -> OfferBody:
    """Close an offer before its end; claims that were made stay. Asking again changes nothing. Staff only."""
    return offer_body(*await service.close(transaction, offer_id, now, caller.identity))


@router.post(
    "/v1/offers/{offer_id}/claims",
    status_code=201,
    responses={
        200: {"model": ClaimBody, "description": "The member had claimed it before"},
        **responses(
            MemberNotFound,
            OfferNotFound,
            SlotNotFound,
            OfferClosed,
            NotOpenYet,
            LevelTooLow,
            OfferFull,
            SlotTaken,
            SlotOver,
            AlreadyClaimed,
        ),
    },
)
async def claim_offer(
    offer_id: OfferId,
    body: ClaimRequest,
    response: Response,
    transaction: RequestTransaction,
    now: Now,
    caller: Annotated[Caller, require("claims:write")],
) -> ClaimBody:
    """A discount, a seat, or a slot for a member. 201 the first time; the same again is the same claim, 200."""
    claim, is_new = await service.claim(transaction, offer_id, body.member_id, body.slot_no, now)
    response.status_code = 201 if is_new else 200
    return claim_body(claim, body.member_id)


@router.delete("/v1/offers/{offer_id}/claims/{member_id}", responses=responses(MemberNotFound, ClaimNotFound))
async def cancel_claim(
    offer_id: OfferId,
    member_id: MemberId,
    transaction: RequestTransaction,
    now: Now,
    caller: Annotated[Caller, require("claims:write")],
) -> ClaimBody:
    """Cancel a member's claim: its seat or slot is free again. Asking again changes nothing."""
    return claim_body(await service.cancel(transaction, offer_id, member_id, now), member_id)


@router.get("/v1/offers/{offer_id}/claims", responses=responses(OfferNotFound))
async def claims_of_offer(
    offer_id: OfferId,
    page: Annotated[Page, paged(int)],
    snapshot: RequestSnapshot,
    caller: Annotated[Caller, require("offers:write")],
) -> PageOf[ClaimBody]:
    """Who claimed an offer, in the order of the claims, cancelled ones too. Staff only."""
    await service.read(snapshot, offer_id)
    after = int(page.after[0]) if page.after else 0
    found = await store.claims_of_offer(snapshot, offer_id, after, page.fetch)
    shown, cursor = page.split(found, lambda each: (each[0].claim_no,))
    return PageOf[ClaimBody](items=[claim_body(claim, member_id) for claim, member_id in shown], next_cursor=cursor)


@router.get("/v1/members/{member_id}/claims", responses=responses(MemberNotFound))
async def claims_of_member(
    member_id: MemberId,
    page: Annotated[Page, paged(int)],
    snapshot: RequestSnapshot,
    caller: Annotated[Caller, require("members:read")],
) -> PageOf[ClaimBody]:
    """What a member claimed, newest first, cancelled claims too."""
    account_no = await _account_no(snapshot, member_id)
    before = int(page.after[0]) if page.after else None
    found = await store.claims_of_member(snapshot, account_no, before, page.fetch)
    shown, cursor = page.split(found, lambda claim: (claim.claim_no,))
    return PageOf[ClaimBody](items=[claim_body(claim, member_id) for claim in shown], next_cursor=cursor)


async def _account_no(conn: Connection, member_id: str) -> int:
    account_no = await find_account_no(conn, member_id)
    if account_no is None:
        raise MemberNotFound("no member has this member_id")
    return account_no
