"""A member's status over HTTP: level and timeline, lifecycle, ABC class, who looks after them."""

from datetime import date
from typing import Annotated

from fastapi import APIRouter, Query
from programme.benefit_terms import OFFER_KINDS
from programme.calendar import civil_day, date_of
from programme.instants import from_datetime, to_datetime
from programme.lifecycle import LIFECYCLES
from programme.revenue import ABC_CLASSES
from programme.terms import LEVELS
from pydantic import Field
from webapi.auth import Caller, require
from webapi.database import RequestSnapshot
from webapi.models import Instant, Model
from webapi.problems import responses

from customer_status.errors import MemberNotFound
from customer_status.parameters import AnyInstant, MemberId, Now, TheProgramme
from customer_status.status import store
from customer_status.status.domain import Known, ToldStep, benefits_of, told_steps
from customer_status.status.levels import status_at

Level = Annotated[str, Field(json_schema_extra={"enum": list(LEVELS)})]


class StepCauseBody(Model):
    """A purchase or return behind a step of the timeline."""

    kind: Annotated[str, Field(json_schema_extra={"enum": ["purchase", "return"]})]
    id: str
    occurred_at: Instant


class StepBody(Model):
    """`level` holds for purchases strictly later than `after`; null: since ever."""

    after: Instant | None
    level: Level
    reason: Annotated[
        str,
        Field(
            json_schema_extra={"enum": ["start", "collected", "returned", "lapsed"]},
            description="`collected` by the purchases named; `returned`: they came back; `lapsed`: a year after them",
        ),
    ]
    causes: list[StepCauseBody]


class LifecycleBody(Model):
    """Where the member stands with the shop, by dates in Europe/Berlin."""

    status: Annotated[str, Field(json_schema_extra={"enum": list(LIFECYCLES)})]
    at_risk_since: date | None = Field(description="silent for longer than is usual since this day; null: not at risk")
    reactivated_on: date | None = Field(description="came back lately, on this day, after a long silence; null: no")


class AbcBody(Model):
    """The class by revenue, in the newest snapshot of the day or before; null: no revenue then."""

    abc: Annotated[str, Field(json_schema_extra={"enum": list(ABC_CLASSES)})] | None
    date: date


class ContactPersonBody(Model):
    """Who looks after the member, as assigned now."""

    name: str
    email: str | None
    assigned_at: Instant


class StatusBody(Model):
    """A member's level and the way to the next one; points are whole points, bonus included."""

    member_id: str
    at: Instant
    level: Level
    bonus_percent: int = Field(description="the bonus on the points of a purchase at this moment")
    since: Instant | None = Field(description="the level holds for purchases later than this; null: since ever")
    held_until: Instant | None = Field(description="the last instant of the level as things stand; null: no end")
    collected_points: int = Field(description="collected within the running year")
    next_level: Level | None
    points_to_next_level: int | None
    points_to_keep_level: int | None = Field(
        description="so many more points, collected until `held_until`, hold the level beyond it; null: basis"
    )
    timeline: list[StepBody]
    lifecycle: LifecycleBody
    abc: AbcBody | None = Field(description="null: no snapshot was taken yet")
    contact_person: ContactPersonBody | None
    benefits: list[Annotated[str, Field(json_schema_extra={"enum": list(OFFER_KINDS)})]] = Field(
        description="the kinds of offers that this level may claim; which there are now: GET /v1/offers"
    )


router = APIRouter(tags=["status"])


@router.get("/v1/members/{member_id}/status", responses=responses(MemberNotFound))
async def member_status(
    member_id: MemberId,
    snapshot: RequestSnapshot,
    programme: TheProgramme,
    now: Now,
    caller: Annotated[Caller, require("members:read")],
    at: Annotated[
        AnyInstant | None, Query(description="As of then: what had happened by it; later than now: if nothing happens")
    ] = None,
) -> StatusBody:
    """The level of a member now, since when, until when, and how far it is to the next.

    With the purchases behind each step of the timeline, lifecycle status and flags, ABC class and contact person.
    """
    at_us = now if at is None else from_datetime(at)
    found = await store.find_member(snapshot, member_id, civil_day(at_us))
    # Without `at` no event is left out, not even one of a till whose clock is a little fast.
    known = found and (found.known if at is None else found.known.at(programme, at_us))
    if found is None or known is None:
        raise MemberNotFound("no member has this member_id, or nothing was known of them then")
    status = status_at(programme, known.timeline, known.purchases, at_us)
    return StatusBody(
        member_id=member_id,
        at=to_datetime(at_us),
        level=status.level,
        bonus_percent=programme.at(at_us).bonus_percent[status.level],
        since=None if status.since_us is None else to_datetime(status.since_us),
        held_until=None if status.held_until_us is None else to_datetime(status.held_until_us),
        collected_points=status.collected_points,
        next_level=status.next_level,
        points_to_next_level=status.points_to_next_level,
        points_to_keep_level=status.points_to_keep_level,
        timeline=[_step(step) for step in told_steps(known)],
        lifecycle=_lifecycle(known, programme, at_us),
        abc=None if found.abc_on is None else AbcBody(abc=found.abc, date=found.abc_on),
        contact_person=None if (person := found.contact_person) is None else ContactPersonBody(**person._asdict()),
        benefits=benefits_of(status.level, programme.at(at_us).offers),
    )


def _step(step: ToldStep) -> StepBody:
    return StepBody(
        after=None if step.after_us is None else to_datetime(step.after_us),
        level=step.level,
        reason=step.reason,
        causes=[
            StepCauseBody(kind=cause.kind, id=cause.id, occurred_at=to_datetime(cause.occurred_us))
            for cause in step.causes
        ],
    )


def _lifecycle(known: Known, programme: TheProgramme, at_us: int) -> LifecycleBody:
    status, at_risk_since, reactivated = known.standing(programme, at_us)
    return LifecycleBody(
        status=status,
        at_risk_since=None if at_risk_since is None else date_of(at_risk_since),
        reactivated_on=None if reactivated is None else date_of(reactivated),
    )
