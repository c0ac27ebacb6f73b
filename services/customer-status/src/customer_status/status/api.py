"""A member's status over HTTP: level and timeline, lifecycle, ABC class, who looks after them."""

from datetime import date
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Response
from programme.benefit_terms import OFFER_KINDS
from programme.calendar import civil_day
from programme.instants import format_instant, from_datetime
from programme.lifecycle import LIFECYCLES
from programme.revenue import ABC_CLASSES
from programme.terms import LEVELS
from pydantic import Field
from starlette.requests import Request
from webapi.auth import Caller, require
from webapi.database import database_of
from webapi.models import Instant, Model
from webapi.problems import responses

from customer_status.errors import MemberNotFound
from customer_status.parameters import AnyInstant, MemberId, Now, TheProgramme
from customer_status.status import store
from customer_status.status.told import told_status

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


# For the document only: `status.told` writes it, as building a model costs more than all else of a status; a test
# compares the two.
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

_encode = msgspec.json.Encoder().encode


@router.get("/v1/members/{member_id}/status", response_model=StatusBody, responses=responses(MemberNotFound))
async def member_status(
    member_id: MemberId,
    request: Request,
    programme: TheProgramme,
    now: Now,
    caller: Annotated[Caller, require("members:read")],
    at: Annotated[
        AnyInstant | None, Query(description="As of then: what had happened by it; later than now: if nothing happens")
    ] = None,
) -> Response:
    """The level of a member now, since when, until when, and how far it is to the next.

    With the purchases behind each step of the timeline, lifecycle status and flags, ABC class and contact person.
    """
    at_us = now if at is None else from_datetime(at)
    async with database_of(request).connection() as connection:  # one statement needs no transaction
        found = await store.find_member(connection, member_id, civil_day(at_us))
    # Without `at` no event is left out, not even one of a till whose clock is a little fast.
    known = found and (found.known if at is None else found.known.at(programme, at_us))
    if found is None or known is None:
        raise MemberNotFound("no member has this member_id, or nothing was known of them then")
    told = told_status(programme, member_id, known, at_us)
    told["abc"] = None if found.abc_on is None else {"abc": found.abc, "date": found.abc_on.isoformat()}
    told["contact_person"] = None if found.contact_person is None else _person(found.contact_person)
    return Response(_encode(told), media_type="application/json")


def _person(person: store.ContactPerson) -> dict[str, Any]:
    assigned_at = format_instant(from_datetime(person.assigned_at))
    return {"name": person.name, "email": person.email, "assigned_at": assigned_at}
