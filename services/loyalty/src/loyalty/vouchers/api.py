"""Vouchers over HTTP. Codes are secrets: they travel in bodies, never in a URL."""

from typing import Annotated

from fastapi import APIRouter, Path, Query
from programme.facts import VOUCHER_ID
from programme.instants import to_datetime
from webapi.auth import Caller, require
from webapi.database import RequestSnapshot, RequestTransaction
from webapi.pages import Page, PageOf, encode_cursor, paged
from webapi.problems import responses

from loyalty.errors import MemberNotFound, RedemptionIsFinal, VoucherAlreadyRedeemed, VoucherNotFound
from loyalty.parameters import MemberId, Now, TheProgramme, TheVouchers
from loyalty.points.store import find_account
from loyalty.vouchers.checkout import UNUSABLE
from loyalty.vouchers.codes import grouped
from loyalty.vouchers.domain import VoucherState
from loyalty.vouchers.views import (
    BasketRequest,
    CodeRequest,
    OwnVoucher,
    PurchaseRequest,
    VoucherView,
    own_view,
    view,
)

router = APIRouter(tags=["vouchers"])


@router.post("/v1/vouchers/check", responses=responses(VoucherNotFound))
async def check_voucher(
    body: CodeRequest,
    snapshot: RequestSnapshot,
    vouchers: TheVouchers,
    programme: TheProgramme,
    now: Now,
    caller: Annotated[Caller, require("vouchers:write", limits=VoucherNotFound)],
) -> VoucherView:
    """State, value, end date and what it may not pay for. Changes nothing."""
    return view(await vouchers.check(snapshot, body.code), programme, now)


@router.post("/v1/vouchers/reserve", responses=responses(VoucherNotFound, *UNUSABLE))
async def reserve_voucher(
    body: BasketRequest,
    transaction: RequestTransaction,
    vouchers: TheVouchers,
    programme: TheProgramme,
    now: Now,
    caller: Annotated[Caller, require("vouchers:write", limits=VoucherNotFound)],
) -> VoucherView:
    """Hold a voucher for a purchase, until `reserved_until`. Asking again for the same purchase renews it."""
    voucher = await vouchers.reserve(transaction, body.code, body.purchase_id, body.cents_by_class, now)
    return view(voucher, programme, now)


@router.post("/v1/vouchers/release", responses=responses(VoucherNotFound))
async def release_voucher(
    body: PurchaseRequest,
    transaction: RequestTransaction,
    vouchers: TheVouchers,
    programme: TheProgramme,
    now: Now,
    caller: Annotated[Caller, require("vouchers:write", limits=VoucherNotFound)],
) -> VoucherView:
    """End the purchase's reservation. Without one nothing changes, so it can be asked again."""
    return view(await vouchers.release(transaction, body.code, body.purchase_id, now), programme, now)


@router.post("/v1/vouchers/redeem", responses=responses(VoucherNotFound, *UNUSABLE))
async def redeem_voucher(
    body: BasketRequest,
    transaction: RequestTransaction,
    vouchers: TheVouchers,
    programme: TheProgramme,
    now: Now,
    caller: Annotated[Caller, require("vouchers:write", limits=VoucherNotFound)],
) -> VoucherView:
    """Redeem a voucher for a purchase, reserved or not. Asking again for the same purchase answers the same, whenever
    that is.
    """
    redeemed = await vouchers.redeem(transaction, body.code, body.purchase_id, body.cents_by_class, now)
    answer = view(redeemed.voucher, programme, now)
    done = {"state": "redeemed", "redeemed_at": to_datetime(redeemed.redeemed_us), "reserved_until": None}
    return answer.model_copy(update=done)


@router.post("/v1/vouchers/undo", responses=responses(VoucherNotFound, RedemptionIsFinal))
async def undo_redemption(
    body: PurchaseRequest,
    transaction: RequestTransaction,
    vouchers: TheVouchers,
    programme: TheProgramme,
    now: Now,
    caller: Annotated[Caller, require("vouchers:write", limits=VoucherNotFound)],
) -> VoucherView:
    """Take the purchase's redemption back, as the order failed: only while no purchase event has named the voucher.
    Without one nothing changes, so it can be asked again.
    """
    return view(await vouchers.undo(transaction, body.code, body.purchase_id, now), programme, now)


@router.post("/v1/vouchers/{voucher_id}/cancel", responses=responses(VoucherNotFound, VoucherAlreadyRedeemed))
async def cancel_voucher(
    voucher_id: Annotated[str, Path(pattern=f"^{VOUCHER_ID.pattern}$", description="As events name the voucher")],
    transaction: RequestTransaction,
    vouchers: TheVouchers,
    programme: TheProgramme,
    now: Now,
    caller: Annotated[Caller, require("adjustments:write", limits=VoucherNotFound)],
) -> VoucherView:
    """Cancel an unused voucher: staff only. Its points come back; asking again changes nothing."""
    return view(await vouchers.cancel(transaction, voucher_id, now), programme, now)


@router.get("/v1/members/{member_id}/vouchers", responses=responses(MemberNotFound))
async def read_vouchers(
    member_id: MemberId,
    page: Annotated[Page, paged(int)],
    snapshot: RequestSnapshot,
    vouchers: TheVouchers,
    programme: TheProgramme,
    now: Now,
    caller: Annotated[Caller, require("vouchers:codes")],
    state: Annotated[VoucherState | None, Query(description="Only those in this state")] = None,
) -> PageOf[OwnVoucher]:
    """The member's vouchers, newest first; those that can still be used with their codes. A page of those in one
    state may hold fewer than asked for, even none, and still have a next one.
    """
    account = await find_account(snapshot, member_id)
    if account is None:
        raise MemberNotFound(f"There is no member {member_id}.")
    before_no = None if page.after is None else int(page.after[0])
    found, next_no = await vouchers.page(snapshot, account.account_no, state, before_no, page.limit, now)
    return PageOf[OwnVoucher](
        items=[own_view(each, grouped(vouchers.code_of(each)), programme, now) for each in found],
        next_cursor=None if next_no is None else encode_cursor((next_no,)),
    )
