"""Rewards and vouchers over HTTP. Codes are secrets: they travel in bodies, never in a URL."""

import json
from typing import Annotated

from fastapi import APIRouter, Path, Request
from programme.facts import VOUCHER_ID
from programme.instants import to_datetime
from programme.terms import Programme
from pydantic import Field
from webapi.auth import Caller, require
from webapi.database import RequestSnapshot, RequestTransaction
from webapi.idempotency import PROBLEMS as IDEMPOTENCY_PROBLEMS
from webapi.idempotency import IdempotentRoute, idempotent
from webapi.models import Instant, Model
from webapi.problems import responses

from loyalty.errors import (
    InsufficientPoints,
    MemberNotFound,
    PurchaseHasVoucher,
    RewardNotFound,
    VoucherAlreadyRedeemed,
    VoucherCancelled,
    VoucherExpired,
    VoucherNotApplicable,
    VoucherNotFound,
)
from loyalty.parameters import CentsByClass, MemberId, Now, PurchaseId, TheProgramme, TheVouchers
from loyalty.points.store import Connection
from loyalty.vouchers.codes import grouped
from loyalty.vouchers.domain import Voucher, VoucherState
from loyalty.vouchers.service import Vouchers
from loyalty.vouchers.store import find_voucher


class CodelessRoute(IdempotentRoute):
    """Remembers issued vouchers without their codes, which are derived again: a stolen table holds none."""

    def abridge(self, body: bytes) -> bytes:
        """The answer with an empty `code`."""
        return json.dumps(json.loads(body) | {"code": ""}).encode()

    async def complete(self, request: Request, connection: Connection, body: bytes) -> bytes:
        """The answer with the voucher's code."""
        answer = json.loads(body)
        vouchers: Vouchers = request.app.state.vouchers
        voucher = await find_voucher(connection, answer["voucher_id"])
        assert voucher is not None, "an answer is remembered in the transaction that stores its voucher"
        return json.dumps(answer | {"code": grouped(vouchers.code_of(voucher))}).encode()


router = APIRouter(tags=["vouchers"], route_class=CodelessRoute)

Code = Annotated[str, Field(min_length=1, max_length=64, description="As printed, hyphens and case do not matter")]


class RewardRequest(Model):
    """What to spend points on."""

    reward: Annotated[str, Field(min_length=1, max_length=64, examples=["voucher-5"])]


class IssuedVoucher(Model):
    """The voucher with its code, which only its owner should see."""

    voucher_id: str
    code: str
    value_cents: int
    points: int
    valid_until: Annotated[Instant, Field(description="It can be used before this instant")]
    balance_points: Annotated[int, Field(description="What is left after it")]


class CodeRequest(Model):
    """A voucher to look at."""

    code: Code


class RedeemRequest(Model):
    """A voucher and the basket it is to pay for."""

    code: Code
    purchase_id: PurchaseId
    cents_by_class: CentsByClass


class VoucherView(Model):
    """A voucher as a checkout may see it."""

    voucher_id: str
    state: VoucherState
    value_cents: int
    valid_until: Annotated[Instant, Field(description="It can be used before this instant")]
    pays_not_for: Annotated[list[str], Field(description="Product classes it may not pay for")]
    redeemed_at: Instant | None


@router.post(
    "/v1/members/{member_id}/rewards",
    status_code=201,
    responses=responses(MemberNotFound, RewardNotFound, InsufficientPoints, *IDEMPOTENCY_PROBLEMS),
)
async def redeem_points(
    member_id: MemberId,
    body: RewardRequest,
    transaction: RequestTransaction,
    vouchers: TheVouchers,
    now: Now,
    caller: Annotated[Caller, idempotent("vouchers:write")],
) -> IssuedVoucher:
    """Turn points into a reward; the same `Idempotency-Key` gives the same voucher again, never a second one."""
    issued = await vouchers.issue(transaction, member_id, body.reward, now)
    return IssuedVoucher(
        voucher_id=issued.voucher.voucher_id,
        code=grouped(issued.code),
        value_cents=issued.voucher.value_cents,
        points=issued.voucher.points,
        valid_until=to_datetime(issued.voucher.valid_until_us),
        balance_points=issued.balance_points,
    )


@router.post("/v1/vouchers/check", responses=responses(VoucherNotFound))
async def check_voucher(
    body: CodeRequest,
    snapshot: RequestSnapshot,
    vouchers: TheVouchers,
    programme: TheProgramme,
    now: Now,
    caller: Annotated[Caller, require("vouchers:write")],
) -> VoucherView:
    """State, value, end date and what it may not pay for. Changes nothing."""
    voucher = await vouchers.check(snapshot, body.code)
    return view(voucher, programme, now)


@router.post(
    "/v1/vouchers/redeem",
    responses=responses(
        VoucherNotFound,
        VoucherAlreadyRedeemed,
        VoucherCancelled,
        VoucherExpired,
        VoucherNotApplicable,
        PurchaseHasVoucher,
    ),
)
async def redeem_voucher(
    body: RedeemRequest,
    transaction: RequestTransaction,
    vouchers: TheVouchers,
    programme: TheProgramme,
    now: Now,
    caller: Annotated[Caller, require("vouchers:write")],
) -> VoucherView:
    """Redeem a voucher for a purchase. Asking again for the same purchase answers the same, whenever that is."""
    redeemed = await vouchers.redeem(transaction, body.code, body.purchase_id, body.cents_by_class, now)
    answer = view(redeemed.voucher, programme, now)
    return answer.model_copy(update={"state": "redeemed", "redeemed_at": to_datetime(redeemed.redeemed_us)})


@router.post("/v1/vouchers/{voucher_id}/cancel", responses=responses(VoucherNotFound, VoucherAlreadyRedeemed))
async def cancel_voucher(
    voucher_id: Annotated[str, Path(pattern=f"^{VOUCHER_ID.pattern}$", description="As events name the voucher")],
    transaction: RequestTransaction,
    vouchers: TheVouchers,
    programme: TheProgramme,
    now: Now,
    caller: Annotated[Caller, require("adjustments:write")],
) -> VoucherView:
    """Cancel an unused voucher: staff only. Its points come back; asking again changes nothing."""
    return view(await vouchers.cancel(transaction, voucher_id, now), programme, now)


def view(voucher: Voucher, programme: Programme, now_us: int) -> VoucherView:
    """A voucher without its code."""
    uses = voucher.current_uses()
    return VoucherView(
        voucher_id=voucher.voucher_id,
        state=voucher.state_at(now_us, programme),
        value_cents=voucher.value_cents,
        valid_until=to_datetime(voucher.usable_until_us(programme)),
        pays_not_for=sorted(programme.at(now_us).voucher_pays_not_for),
        redeemed_at=to_datetime(uses[0].since_us) if uses else None,
    )
