"""What a basket would earn and what a voucher would pay of it, before anything is bought."""

from typing import Annotated

from fastapi import APIRouter
from programme.instants import from_datetime
from pydantic import Field
from webapi.auth import Caller, require
from webapi.database import RequestSnapshot
from webapi.models import Model
from webapi.problems import responses

from loyalty.errors import MemberNotFound, VoucherNotFound
from loyalty.members.views import Level, PointsView
from loyalty.parameters import CentsByClass, MemberIdText, Now, PastInstant, PurchaseId, TheProgramme, TheVouchers
from loyalty.quotes.service import Quote, quote
from loyalty.vouchers.views import Code, VoucherView, view

router = APIRouter(tags=["quotes"])


class QuoteRequest(Model):
    """A basket, who buys it, and a voucher that is to pay a part of it."""

    cents_by_class: CentsByClass
    member_id: Annotated[
        MemberIdText | None, Field(description="Without a member: what it earns on the base level")
    ] = None
    occurred_at: Annotated[PastInstant | None, Field(description="When it is bought; now if not given")] = None
    code: Code | None = None
    purchase_id: Annotated[
        PurchaseId | None, Field(description="The purchase, so that its own reservation is no obstacle")
    ] = None


class RefusalView(Model):
    """Why a voucher could not be redeemed for the basket: what the refusal would say."""

    code: Annotated[str, Field(examples=["voucher_expired"])]
    title: str
    detail: str


class QuotedVoucher(Model):
    """Whether a voucher could be redeemed for the basket now."""

    usable: bool
    refusal: RefusalView | None
    voucher: VoucherView


class QuoteView(Model):
    """What would be earned. Nothing is promised: the level may change until then."""

    level: Level
    bonus_percent: int
    eligible_cents: Annotated[int, Field(description="What of the basket earns points")]
    points: Annotated[PointsView, Field(description="For the cents as given: leave out what a voucher is to pay")]
    voucher: QuotedVoucher | None


@router.post("/v1/quotes", responses=responses(MemberNotFound, VoucherNotFound))
async def make_quote(
    body: QuoteRequest,
    snapshot: RequestSnapshot,
    vouchers: TheVouchers,
    programme: TheProgramme,
    now: Now,
    caller: Annotated[Caller, require("quotes:read", limits=VoucherNotFound)],
) -> QuoteView:
    """Ask what a basket would earn, and whether a voucher would pay.

    Changes nothing. The points are those of the member's level. An unknown code is refused as everywhere; what else
    speaks against a voucher is told.
    """
    found = await quote(
        snapshot,
        programme,
        vouchers,
        cents_by_class=body.cents_by_class,
        member_id=body.member_id,
        occurred_us=now if body.occurred_at is None else from_datetime(body.occurred_at),
        code=body.code,
        purchase_id=body.purchase_id,
        now_us=now,
    )
    return QuoteView(
        level=found.level,
        bonus_percent=found.bonus_percent,
        eligible_cents=found.eligible_cents,
        points=PointsView(base=found.points.base, bonus=found.points.bonus, total=found.points.total),
        voucher=None if found.voucher is None else _quoted(found, view(found.voucher, programme, now)),
    )


def _quoted(found: Quote, voucher: VoucherView) -> QuotedVoucher:
    refused = found.refusal
    why = None if refused is None else RefusalView(code=refused.code, title=refused.title, detail=refused.detail)
    return QuotedVoucher(usable=refused is None, refusal=why, voucher=voucher)
