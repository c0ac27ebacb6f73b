"""Consents over HTTP: may a member be contacted, over which channel, since when, and who says so."""

from typing import Annotated

from fastapi import APIRouter
from programme.instants import from_datetime, to_datetime
from pydantic import Field
from webapi.auth import Caller, require
from webapi.database import RequestSnapshot, RequestTransaction
from webapi.models import Instant, Model
from webapi.problems import Malformed, responses

from customer_status.consents import store
from customer_status.consents.domain import Consent, flaw_of
from customer_status.contacts.store import watch
from customer_status.errors import MemberNotFound
from customer_status.offers.bodies import CalendarInstant
from customer_status.parameters import MemberId, Now, TheProgramme
from customer_status.tiers.store import find_account_no, lock_known_member

router = APIRouter(tags=["consents"])


class ConsentRequest(Model):
    """A decision about one channel."""

    channel: Annotated[str, Field(pattern=r"^[a-z0-9_]{1,32}$", description="One of the terms' `contacts.channels`")]
    granted: bool
    source: Annotated[str, Field(min_length=1, max_length=200, description="Where the member said so")]
    decided_at: Annotated[CalendarInstant, Field(description="When the member said so")]


class ConsentsRequest(Model):
    """Decisions about some channels; the others stay as they are."""

    consents: Annotated[list[ConsentRequest], Field(min_length=1, max_length=20)]


class ConsentBody(Model):
    """The decision that counts for a channel: the latest, of one instant the refusal."""

    channel: str
    granted: bool
    source: str
    decided_at: Instant


class ConsentsBody(Model):
    """Every channel the member decided about. One that is missing is one without consent."""

    member_id: str
    consents: list[ConsentBody]


@router.put("/v1/members/{member_id}/consent", responses=responses(MemberNotFound))
async def record_consent(
    member_id: MemberId,
    body: ConsentsRequest,
    transaction: RequestTransaction,
    programme: TheProgramme,
    now: Now,
    caller: Annotated[Caller, require("consents:write")],
) -> ConsentsBody:
    """Record what a member decided. The latest decision of a channel counts, in whatever order they are recorded."""
    terms = programme.at(now)
    consents = [
        Consent(each.channel, each.granted, each.source, from_datetime(each.decided_at)) for each in body.consents
    ]
    for index, consent in enumerate(consents):
        if flaw := flaw_of(consent, terms, now):
            raise Malformed.at("body", f"consents/{index}/{flaw[0]}", flaw[1])
    account_no = await lock_known_member(transaction, member_id)
    if account_no is None:
        raise MemberNotFound("no member has this member_id; who joined just now is known here a moment later")
    await store.add_consents(transaction, account_no, consents, now, caller.identity)
    await watch(transaction, account_no)
    return _body(member_id, await store.latest_consents(transaction, account_no))


@router.get("/v1/members/{member_id}/consent", responses=responses(MemberNotFound))
async def read_consent(
    member_id: MemberId, snapshot: RequestSnapshot, caller: Annotated[Caller, require("members:read")]
) -> ConsentsBody:
    """How a member may be contacted, since when, and where they said so."""
    account_no = await find_account_no(snapshot, member_id)
    if account_no is None:
        raise MemberNotFound("no member has this member_id")
    return _body(member_id, await store.latest_consents(snapshot, account_no))


def _body(member_id: str, consents: list[Consent]) -> ConsentsBody:
    return ConsentsBody(
        member_id=member_id,
        consents=[
            ConsentBody(
                channel=each.channel,
                granted=each.granted,
                source=each.source,
                decided_at=to_datetime(each.decided_us),
            )
            for each in consents
        ],
    )
