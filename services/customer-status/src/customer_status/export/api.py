"""A member's own data in one document (GDPR Art. 15 and 20)."""

from datetime import date
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter
from programme.benefit_terms import OfferKind
from programme.instants import to_datetime
from programme.timeline import Timeline
from pydantic import Field
from webapi.auth import Caller, require
from webapi.database import RequestSnapshot
from webapi.models import Instant, Model
from webapi.problems import responses

from customer_status.errors import ExportTooLarge, MemberNotFound
from customer_status.export.service import Export, export
from customer_status.parameters import MemberId, Now
from customer_status.segments.api import AbcClass, LifecycleStatus
from customer_status.status.api import ContactPersonBody, Level
from customer_status.tiers.domain import PurchaseRow, ReturnRow

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
    vouchers: list[str]


class ExportedReturn(Model):
    """A return as it is held, also one whose purchase is not known."""

    return_id: str
    purchase_id: str
    occurred_at: Instant
    received_at: Instant
    cents_by_class: dict[str, int]
    complete: bool


class ExportedStep(Model):
    """`level` holds for purchases strictly later than `after`; null: since ever."""

    after: Instant | None
    level: Level


class ExportedClaim(Model):
    """An offer that was claimed; `level` is the member's when it was."""

    claim_no: int
    offer_id: int
    kind: OfferKind
    title: str
    slot_no: int | None
    starts_at: Instant | None = Field(description="of the appointment")
    level: Level
    claimed_at: Instant
    cancelled_at: Instant | None


class ExportedConsent(Model):
    """A decision about being contacted; who recorded it is not the member's data."""

    channel: str
    granted: bool
    source: str
    decided_at: Instant
    recorded_at: Instant


class ExportedContact(Model):
    """A contact that was recommended to the newsletter system."""

    kind: str
    cause: str
    level: Level | None
    told_at: Instant
    channels: list[str]


class ExportedNotice(Model):
    """Points or a voucher that end soon, as loyalty told."""

    kind: str
    received_at: Instant
    ends_at: Instant
    reason: dict[str, Any]


class ExportedSurvey(Model):
    """A question about a purchase; `score` is null while it is not answered."""

    survey_id: str
    purchase_id: str
    best_score: int
    asked_at: Instant
    score: int | None
    answered_at: Instant | None


class ExportedSnapshot(Model):
    """What the member was in a snapshot of the segments."""

    date: date
    level: Level
    lifecycle: LifecycleStatus
    abc: AbcClass | None
    revenue_cents: int


class ExportView(Model):
    """Everything customer-status holds about a member. loyalty holds their points and vouchers."""

    exported_at: Instant
    member_id: str
    joined_at: Instant | None = Field(description="null: known by a purchase or return only")
    timeline: list[ExportedStep]
    purchases: Annotated[list[ExportedPurchase], Field(description="By the instant they happened")]
    returns: list[ExportedReturn]
    claims: list[ExportedClaim]
    consents: Annotated[list[ExportedConsent], Field(description="Every decision, by its instant")]
    contacts: list[ExportedContact]
    notices: list[ExportedNotice]
    surveys: list[ExportedSurvey]
    contact_person: ContactPersonBody | None
    snapshots: list[ExportedSnapshot]


@router.get("/v1/members/{member_id}/export", responses=responses(MemberNotFound, ExportTooLarge))
async def export_member(
    member_id: MemberId,
    snapshot: RequestSnapshot,
    now: Now,
    caller: Annotated[Caller, require("members:erase")],
) -> ExportView:
    """Everything held about a member in one document of one moment, at most 50,000 rows."""
    return _view(member_id, await export(snapshot, member_id), now)


def _view(member_id: str, found: Export, now_us: int) -> ExportView:
    history, stored = found
    purchases = sorted(history.purchases, key=lambda row: (row.fact.occurred_us, row.fact.purchase_id))
    returns = sorted(history.returns, key=lambda row: (row.fact.occurred_us, row.fact.return_id))
    return ExportView(
        exported_at=to_datetime(now_us),
        member_id=member_id,
        joined_at=None if history.joined_us is None else to_datetime(history.joined_us),
        timeline=_steps(history.published),
        purchases=[_purchase(row) for row in purchases],
        returns=[_return(row) for row in returns],
        claims=[ExportedClaim(**row) for row in stored.claims],
        consents=[ExportedConsent(**row) for row in stored.consents],
        contacts=[ExportedContact(**row) for row in stored.contacts],
        notices=[
            ExportedNotice(**dict(row) | {"reason": msgspec.json.decode(row["reason"])}) for row in stored.notices
        ],
        surveys=[ExportedSurvey(**row) for row in stored.surveys],
        contact_person=None if stored.contact_person is None else ContactPersonBody(**stored.contact_person),
        snapshots=[ExportedSnapshot(**row) for row in stored.snapshots],
    )


def _steps(timeline: Timeline) -> list[ExportedStep]:
    return [
        ExportedStep(after=None if step.after_us is None else to_datetime(step.after_us), level=step.level)
        for step in timeline
    ]


def _purchase(row: PurchaseRow) -> ExportedPurchase:
    return ExportedPurchase(
        purchase_id=row.fact.purchase_id,
        occurred_at=to_datetime(row.fact.occurred_us),
        received_at=to_datetime(row.received_us),
        cents_by_class=row.fact.cents_by_class,
        eligible_cents=row.eligible_cents,
        returned_cents=row.returned_cents,
        returned_completely=row.returned_completely,
        vouchers=list(row.fact.vouchers),
    )


def _return(row: ReturnRow) -> ExportedReturn:
    return ExportedReturn(
        return_id=row.fact.return_id,
        purchase_id=row.fact.purchase_id,
        occurred_at=to_datetime(row.fact.occurred_us),
        received_at=to_datetime(row.received_us),
        cents_by_class=row.fact.cents_by_class,
        complete=row.fact.complete,
    )
