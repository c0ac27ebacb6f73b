"""Members over HTTP: join, read now or as of then, the ledger, and why a purchase is worth its points."""

import hashlib
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Response
from programme.instants import from_datetime, to_datetime
from webapi.auth import Caller, require
from webapi.database import RequestSnapshot, RequestTransaction
from webapi.models import Instant, Model
from webapi.pages import Page, PageOf, paged
from webapi.problems import responses

from loyalty.errors import MemberErased, MemberNotFound, PurchaseNotFound
from loyalty.members import service, store
from loyalty.members.views import EntryView, MemberView, PurchaseView, entry_view, member_view, purchase_view
from loyalty.parameters import MemberId, Now, PastInstant, PurchaseId, TheProgramme, TheSecret
from loyalty.points.account import Account
from loyalty.points.store import Connection, find_account

router = APIRouter(tags=["members"])


ETAG = {"ETag": {"description": "Of this answer, for `If-None-Match`", "required": True, "schema": {"type": "string"}}}


class Joined(Model):
    """A member of the club."""

    member_id: str
    joined_at: Instant


@router.put(
    "/v1/members/{member_id}",
    responses={201: {"model": Joined, "description": "Joined just now"}, **responses(MemberErased)},
)
async def join_club(
    member_id: MemberId,
    response: Response,
    transaction: RequestTransaction,
    secret: TheSecret,
    now: Now,
    caller: Annotated[Caller, require("members:write")],
) -> Joined:
    """Join the club. 201 the first time, 200 after; 410 for a member who was erased."""
    joined = await service.join(transaction, secret, member_id, now)
    assert joined.account.joined_us is not None
    response.status_code = 201 if joined.is_new else 200
    return Joined(member_id=member_id, joined_at=to_datetime(joined.account.joined_us))


@router.get(
    "/v1/members/{member_id}",
    response_model=MemberView,
    responses={
        **responses(MemberNotFound),
        200: {"headers": ETAG},
        304: {"description": "Nothing changed since this ETag", "headers": ETAG},
    },
)
async def read_member(
    member_id: MemberId,
    response: Response,
    snapshot: RequestSnapshot,
    programme: TheProgramme,
    now: Now,
    caller: Annotated[Caller, require("members:read")],
    at: Annotated[PastInstant | None, Query(description="As of then: what had happened up to this instant")] = None,
    known_at: Annotated[PastInstant | None, Query(description="... as far as it had been received by this one")] = None,
    if_none_match: Annotated[
        str | None, Header(max_length=200, description="The ETag of an earlier answer: 304 if it is still the same")
    ] = None,
) -> MemberView | Response:
    """Balance, level, what expires next and the open vouchers. Send the ETag back as `If-None-Match` to save bytes.

    With `at` or `known_at` the same as of then, computed from the member's whole history by the rules. Levels are
    those of the newest timeline unless `known_at` asks for the levels that what was known then leads to.
    """
    if at is None and known_at is None:
        standing = await service.standing_now(snapshot, programme, member_id, now)
    else:
        standing = await service.standing_then(snapshot, programme, member_id, _us(at), _us(known_at), now)
    if standing is None:
        known = "" if at is None and known_at is None else " that anything was known of then"
        raise MemberNotFound(f"There is no member {member_id}{known}.")
    member = member_view(member_id, standing)
    etag = f'"{hashlib.sha256(member.model_dump_json().encode()).hexdigest()[:32]}"'
    if if_none_match is not None and _matches(if_none_match, etag):
        return Response(status_code=304, headers={"ETag": etag})
    response.headers["ETag"] = etag
    return member


@router.get("/v1/members/{member_id}/entries", responses=responses(MemberNotFound))
async def read_entries(
    member_id: MemberId,
    page: Annotated[Page, paged(int)],
    snapshot: RequestSnapshot,
    caller: Annotated[Caller, require("members:read")],
) -> PageOf[EntryView]:
    """The ledger, newest entry first, each with its cause in words."""
    account = await _account(snapshot, member_id)
    before = None if page.after is None else int(page.after[0])
    found = await store.entries_before(snapshot, account.account_no, before, page.fetch)
    lines, cursor = page.split(found, lambda line: (line.entry_no,))
    told = await service.explain_entries(snapshot, account.account_no, lines)
    return PageOf[EntryView](items=[entry_view(*each) for each in told], next_cursor=cursor)


@router.get("/v1/members/{member_id}/purchases/{purchase_id}", responses=responses(MemberNotFound, PurchaseNotFound))
async def read_purchase(
    member_id: MemberId,
    purchase_id: Annotated[PurchaseId, Path(description="The receipt or shop order, as its channel names it")],
    snapshot: RequestSnapshot,
    programme: TheProgramme,
    caller: Annotated[Caller, require("members:read")],
) -> PurchaseView:
    """Why these points: what earns, what came back, the rate and its level, and every entry posted for it."""
    account = await _account(snapshot, member_id)
    explained = await service.explain_purchase(snapshot, account, purchase_id)
    if explained is None:
        raise PurchaseNotFound(f"There is no purchase {purchase_id} of member {member_id}.")
    return purchase_view(member_id, explained, programme)


def _matches(if_none_match: str, etag: str) -> bool:
    """RFC 9110, 13.1.2: compared weakly, and `*` matches whatever there is."""
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return tags == ["*"] or etag in tags


async def _account(conn: Connection, member_id: str) -> Account:
    account = await find_account(conn, member_id)
    if account is None:
        raise MemberNotFound(f"There is no member {member_id}.")
    return account


def _us(value: datetime | None) -> int | None:
    return None if value is None else from_datetime(value)
