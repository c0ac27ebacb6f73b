"""Members over HTTP: join, read, and the ledger with the cause of each entry."""

import hashlib
from typing import Annotated

from fastapi import APIRouter, Header, Response
from programme.instants import to_datetime
from programme.terms import LEVELS, Programme
from programme.timeline import bonus_percent_at, level_at
from pydantic import Field
from webapi.auth import Caller, require
from webapi.database import RequestSnapshot, RequestTransaction
from webapi.models import Instant, Model
from webapi.pages import Page, PageOf, paged
from webapi.problems import responses

from loyalty.errors import MemberNotFound
from loyalty.members import service, store
from loyalty.parameters import MemberId, Now, TheProgramme
from loyalty.points.domain import Account
from loyalty.points.store import Connection, find_account
from loyalty.points.tables import ENTRY_KINDS
from loyalty.vouchers.domain import Voucher
from loyalty.vouchers.store import vouchers_of

router = APIRouter(tags=["members"])


class Joined(Model):
    """A member of the club."""

    member_id: str
    joined_at: Instant


class ExpiringPoints(Model):
    """Points that are lost at `at` unless they are spent before."""

    points: int
    at: Instant


class OpenVoucher(Model):
    """A voucher that can still be used."""

    voucher_id: str
    value_cents: int
    valid_until: Instant


class MemberView(Model):
    """A member's account as of now."""

    member_id: str
    joined_at: Instant | None
    balance_points: Annotated[int, Field(description="Below zero after a return of points already spent")]
    level: Annotated[str, Field(description="Of a purchase made now", json_schema_extra={"enum": list(LEVELS)})]
    bonus_percent: Annotated[int, Field(description="Extra points on a purchase made now")]
    points_to_next_voucher: Annotated[int, Field(description="0: there are enough")]
    expiring_next: ExpiringPoints | None
    open_vouchers: list[OpenVoucher]


class EntryView(Model):
    """One ledger entry and what caused it."""

    entry_no: int
    posted_at: Instant
    kind: Annotated[str, Field(description=f"One of {', '.join(ENTRY_KINDS)}")]
    points: int
    purchase_id: str | None
    cause_id: Annotated[str | None, Field(description="return_id, voucher_id, timeline version or year of expiry")]


@router.put(
    "/v1/members/{member_id}",
    responses={201: {"model": Joined, "description": "Joined just now"}},
)
async def join_club(
    member_id: MemberId,
    response: Response,
    transaction: RequestTransaction,
    now: Now,
    caller: Annotated[Caller, require("members:write")],
) -> Joined:
    """Join the club. 201 the first time, 200 after."""
    joined = await service.join(transaction, member_id, now)
    assert joined.account.joined_us is not None
    response.status_code = 201 if joined.is_new else 200
    return Joined(member_id=member_id, joined_at=to_datetime(joined.account.joined_us))


@router.get(
    "/v1/members/{member_id}",
    response_model=MemberView,
    responses={**responses(MemberNotFound), 304: {"description": "Nothing changed since this ETag"}},
)
async def read_member(
    member_id: MemberId,
    response: Response,
    snapshot: RequestSnapshot,
    programme: TheProgramme,
    now: Now,
    caller: Annotated[Caller, require("members:read")],
    if_none_match: Annotated[str | None, Header(max_length=200)] = None,
) -> MemberView | Response:
    """Balance, level, what expires next and the open vouchers. Send the ETag back as `If-None-Match` to save bytes."""
    account = await _account(snapshot, member_id)
    member = _view(account, member_id, programme, await vouchers_of(snapshot, account.account_no), now)
    etag = f'"{hashlib.sha256(member.model_dump_json().encode()).hexdigest()[:32]}"'
    if if_none_match is not None and etag in [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]:
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
    """The ledger, newest entry first."""
    account = await _account(snapshot, member_id)
    before = None if page.after is None else int(page.after[0])
    lines, cursor = page.split(
        await store.entries_before(snapshot, account.account_no, before, page.fetch),
        lambda line: (line.entry_no,),
    )
    return PageOf[EntryView](items=[EntryView(**line._asdict()) for line in lines], next_cursor=cursor)


async def _account(conn: Connection, member_id: str) -> Account:
    account = await find_account(conn, member_id)
    if account is None:
        raise MemberNotFound(f"There is no member {member_id}.")
    return account


def _view(account: Account, member_id: str, programme: Programme, vouchers: list[Voucher], now_us: int) -> MemberView:
    balance = account.available_points(now_us)
    expiring = account.next_expiry(now_us)
    cheapest = min(reward.points for reward in programme.at(now_us).rewards.values())
    return MemberView(
        member_id=member_id,
        joined_at=None if account.joined_us is None else to_datetime(account.joined_us),
        balance_points=balance,
        level=level_at(account.timeline, now_us),
        bonus_percent=bonus_percent_at(programme, account.timeline, now_us),
        points_to_next_voucher=max(0, cheapest - balance),
        expiring_next=None
        if expiring is None
        else ExpiringPoints(points=expiring.points, at=to_datetime(expiring.at_us)),
        open_vouchers=[
            OpenVoucher(
                voucher_id=voucher.voucher_id,
                value_cents=voucher.value_cents,
                valid_until=to_datetime(voucher.valid_until_us),
            )
            for voucher in vouchers
            if voucher.state_at(now_us) == "open"
        ],
    )
