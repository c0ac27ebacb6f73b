"""A member's own data in one document (GDPR Art. 15 and 20)."""

from typing import Annotated

from fastapi import APIRouter
from programme.instants import to_datetime
from programme.terms import Programme
from programme.timeline import Timeline
from pydantic import Field
from webapi.auth import Caller, require
from webapi.database import RequestSnapshot
from webapi.models import Instant, Model
from webapi.problems import responses

from loyalty.adjustments.domain import Adjustment
from loyalty.errors import ExportTooLarge, MemberNotFound
from loyalty.export.service import Export, export
from loyalty.members.views import EntryView, Level, MemberView, entry_view, member_view
from loyalty.parameters import MemberId, Now, TheProgramme
from loyalty.points.domain import KnownReturn, Position
from loyalty.rewards.domain import ProductOrder
from loyalty.vouchers.domain import Voucher

router = APIRouter(tags=["members"])


class ExportedPurchase(Model):
    """A purchase as it is held: its cents by product class, not its lines."""

    purchase_id: str
    occurred_at: Instant
    received_at: Instant
    cents_by_class: dict[str, int]
    eligible_cents: int
    returned_cents: int
    returned_completely: bool
    bonus_percent: int
    points: int
    vouchers: list[str]


class ExportedReturn(Model):
    """A return as it is held, also one whose purchase is not known."""

    return_id: str
    purchase_id: str
    occurred_at: Instant
    received_at: Instant
    cents_by_class: dict[str, int]
    complete: bool


class ExportedUse(Model):
    """A purchase that used a voucher."""

    purchase_id: str
    used_at: Instant


class ExportedVoucher(Model):
    """A voucher without its code: who holds the export must not be able to spend it."""

    voucher_id: str
    reward: str
    state: str
    value_cents: int
    points: int
    issued_at: Instant
    valid_until: Instant
    cancelled_at: Instant | None
    uses: list[ExportedUse]


class ExportedProduct(Model):
    """A product that was ordered for points."""

    order_id: str
    reward: str
    name: str
    points: int
    ordered_at: Instant


class ExportedAdjustment(Model):
    """Points that staff gave or took, or that wait for a second person; who they are is not the member's data."""

    adjustment_id: int
    points: int
    reason: str
    text: str | None
    state: str
    requested_at: Instant
    decided_at: Instant | None


class ExportedStep(Model):
    """`level` holds for purchases strictly later than `after`; null: since ever."""

    after: Instant | None
    level: Level


class ExportView(Model):
    """Everything loyalty holds about a member. customer-status holds their levels and what follows from them."""

    exported_at: Instant
    member: MemberView
    timeline: list[ExportedStep]
    purchases: Annotated[list[ExportedPurchase], Field(description="By the instant they happened")]
    returns: list[ExportedReturn]
    vouchers: list[ExportedVoucher]
    products: list[ExportedProduct]
    adjustments: list[ExportedAdjustment]
    entries: Annotated[list[EntryView], Field(description="The whole ledger, newest first")]


@router.get("/v1/members/{member_id}/export", responses=responses(MemberNotFound, ExportTooLarge))
async def export_member(
    member_id: MemberId,
    snapshot: RequestSnapshot,
    programme: TheProgramme,
    now: Now,
    caller: Annotated[Caller, require("members:erase")],
) -> ExportView:
    """Everything held about a member in one document of one moment, at most 50,000 rows."""
    return _view(member_id, await export(snapshot, programme, member_id, now), programme, now)


def _view(member_id: str, found: Export, programme: Programme, now_us: int) -> ExportView:
    history = found.history
    positions = sorted(history.positions, key=lambda row: (row.purchase.occurred_us, row.purchase.purchase_id))
    returns = sorted(history.returns, key=lambda row: (row.fact.occurred_us, row.fact.return_id))
    return ExportView(
        exported_at=to_datetime(now_us),
        member=member_view(member_id, found.standing),
        timeline=_steps(history.account.timeline),
        purchases=[_purchase(row) for row in positions],
        returns=[_return(row) for row in returns],
        vouchers=[_voucher(row, programme, now_us) for row in history.vouchers],
        products=[_product(row) for row in history.products],
        adjustments=[_adjustment(row) for row in history.adjustments],
        entries=[entry_view(*told) for told in found.entries],
    )


def _steps(timeline: Timeline) -> list[ExportedStep]:
    return [
        ExportedStep(after=None if step.after_us is None else to_datetime(step.after_us), level=step.level)
        for step in timeline
    ]


def _purchase(row: Position) -> ExportedPurchase:
    purchase = row.purchase
    return ExportedPurchase(
        purchase_id=purchase.purchase_id,
        occurred_at=to_datetime(purchase.occurred_us),
        received_at=to_datetime(row.received_us),
        cents_by_class=purchase.cents_by_class,
        eligible_cents=row.eligible_cents,
        returned_cents=row.returned_cents,
        returned_completely=row.returned_completely,
        bonus_percent=row.bonus_percent,
        points=row.posted_points,
        vouchers=list(purchase.vouchers),
    )


def _return(row: KnownReturn) -> ExportedReturn:
    return ExportedReturn(
        return_id=row.fact.return_id,
        purchase_id=row.fact.purchase_id,
        occurred_at=to_datetime(row.fact.occurred_us),
        received_at=to_datetime(row.received_us),
        cents_by_class=row.fact.cents_by_class,
        complete=row.fact.complete,
    )


def _voucher(row: Voucher, programme: Programme, now_us: int) -> ExportedVoucher:
    return ExportedVoucher(
        voucher_id=row.voucher_id,
        reward=row.reward,
        state=row.state_at(now_us, programme),
        value_cents=row.value_cents,
        points=row.points,
        issued_at=to_datetime(row.issued_us),
        valid_until=to_datetime(row.usable_until_us(programme)),
        cancelled_at=None if row.cancelled_us is None else to_datetime(row.cancelled_us),
        uses=[ExportedUse(purchase_id=use.purchase_id, used_at=to_datetime(use.since_us)) for use in row.uses()],
    )


def _product(row: ProductOrder) -> ExportedProduct:
    return ExportedProduct(
        order_id=row.order_id,
        reward=row.reward,
        name=row.name,
        points=row.points,
        ordered_at=to_datetime(row.ordered_us),
    )


def _adjustment(row: Adjustment) -> ExportedAdjustment:
    return ExportedAdjustment(
        adjustment_id=row.adjustment_id,
        points=row.points,
        reason=row.reason,
        text=row.text,
        state=row.state,
        requested_at=to_datetime(row.requested_us),
        decided_at=None if row.decided_us is None else to_datetime(row.decided_us),
    )
