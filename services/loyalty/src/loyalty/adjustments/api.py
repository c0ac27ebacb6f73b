"""Adjustments over HTTP: staff give or take points, and a second person decides about many."""

from typing import Annotated

from fastapi import APIRouter, Path, Response
from programme.instants import to_datetime
from pydantic import Field
from webapi.auth import Caller, require
from webapi.database import RequestSnapshot, RequestTransaction
from webapi.idempotency import PROBLEMS as IDEMPOTENCY_PROBLEMS
from webapi.idempotency import IdempotentRoute, idempotent
from webapi.models import Instant, Model
from webapi.pages import Page, PageOf, paged
from webapi.problems import Malformed, responses

from loyalty.adjustments import service, store
from loyalty.adjustments.domain import Adjustment, Person, Reason, State
from loyalty.errors import (
    AdjustmentDecided,
    AdjustmentNotFound,
    InsufficientPoints,
    MemberNotFound,
    SecondPersonNeeded,
)
from loyalty.parameters import MemberId, Now, TheProgramme

router = APIRouter(tags=["adjustments"], route_class=IdempotentRoute)

MOST_POINTS = 1_000_000

AdjustmentId = Annotated[int, Path(ge=1, lt=2**63, description="As the answer to the adjustment gave it")]


class AdjustmentRequest(Model):
    """Points to give (above 0) or to take (below)."""

    points: Annotated[
        int,
        Field(ge=-MOST_POINTS, le=MOST_POINTS, json_schema_extra={"not": {"const": 0}}, description="Signed, never 0"),
    ]
    reason: Reason
    text: Annotated[str, Field(min_length=1, max_length=500, description="For colleagues. Deleted with the member")]


class PersonView(Model):
    """Who: the calling system, and the person it named."""

    client: str
    subject: str | None


class AdjustmentView(Model):
    """An adjustment. It counts from `decided_at` on if it is posted."""

    adjustment_id: int
    member_id: str
    points: int
    reason: Reason
    text: str | None
    state: State
    requested_by: PersonView
    requested_at: Instant
    decided_by: Annotated[PersonView | None, Field(description="null: nobody had to, or nobody has yet")]
    decided_at: Instant | None


@router.post(
    "/v1/members/{member_id}/adjustments",
    status_code=201,
    responses={
        202: {"model": AdjustmentView, "description": "Waits for a second person"},
        **responses(MemberNotFound, InsufficientPoints, *IDEMPOTENCY_PROBLEMS),
    },
)
async def adjust_points(
    member_id: MemberId,
    body: AdjustmentRequest,
    response: Response,
    transaction: RequestTransaction,
    programme: TheProgramme,
    now: Now,
    caller: Annotated[Caller, idempotent("adjustments:write", about="member_id")],
) -> AdjustmentView:
    """Give or take points. Above the limit of the terms the answer is 202, and nothing happens before `approve`."""
    if body.points == 0:
        raise Malformed.at("body", "points", "must not be 0")
    adjusted = await service.request(
        transaction, programme, member_id, body.points, body.reason, body.text, _person(caller), now
    )
    response.status_code = 202 if adjusted.adjustment.state == "pending" else 201
    return _view(*adjusted)


@router.get("/v1/adjustments")
async def list_pending_adjustments(
    page: Annotated[Page, paged(int)],
    snapshot: RequestSnapshot,
    caller: Annotated[Caller, require("adjustments:write")],
) -> PageOf[AdjustmentView]:
    """Those that wait for a second person, oldest first."""
    found = await store.pending_after(snapshot, 0 if page.after is None else int(page.after[0]), page.fetch)
    shown, cursor = page.split(found, lambda waiting: (waiting.adjustment.adjustment_id,))
    return PageOf[AdjustmentView](items=[_view(*waiting) for waiting in shown], next_cursor=cursor)


@router.post(
    "/v1/adjustments/{adjustment_id}/approve",
    responses=responses(AdjustmentNotFound, AdjustmentDecided, SecondPersonNeeded, InsufficientPoints),
)
async def approve_adjustment(
    adjustment_id: AdjustmentId,
    transaction: RequestTransaction,
    now: Now,
    caller: Annotated[Caller, require("adjustments:write")],
) -> AdjustmentView:
    """Post it, as somebody else than who asked for it. It counts from now on; asking again changes nothing."""
    return _view(*await service.approve(transaction, adjustment_id, _person(caller), now))


@router.post(
    "/v1/adjustments/{adjustment_id}/reject",
    responses=responses(AdjustmentNotFound, AdjustmentDecided, SecondPersonNeeded),
)
async def reject_adjustment(
    adjustment_id: AdjustmentId,
    transaction: RequestTransaction,
    now: Now,
    caller: Annotated[Caller, require("adjustments:write")],
) -> AdjustmentView:
    """Drop it, as somebody else than who asked for it; asking again changes nothing."""
    return _view(*await service.reject(transaction, adjustment_id, _person(caller), now))


def _person(caller: Caller) -> Person:
    return Person(caller.system, caller.subject)


def _view(member_id: str, adjustment: Adjustment) -> AdjustmentView:
    decided_us, decider = adjustment.decided_us, adjustment.decided_by
    return AdjustmentView.model_validate(
        {
            "adjustment_id": adjustment.adjustment_id,
            "member_id": member_id,
            "points": adjustment.points,
            "reason": adjustment.reason,
            "text": adjustment.text,
            "state": adjustment.state,
            "requested_by": adjustment.requested_by._asdict(),
            "requested_at": to_datetime(adjustment.requested_us),
            "decided_by": None if decider is None else decider._asdict(),
            "decided_at": None if decided_us is None else to_datetime(decided_us),
        }
    )
