"""The HTTP side of levels."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter
from programme.instants import to_datetime
from programme.terms import LEVELS
from programme.timeline import Timeline
from pydantic import Field
from webapi.auth import Caller, require
from webapi.database import RequestSnapshot
from webapi.models import Instant, Model
from webapi.problems import responses

from customer_status.errors import MemberNotFound
from customer_status.parameters import MemberId, Now, TheProgramme
from customer_status.tiers import store
from customer_status.tiers.status import Status, status_at

Level = Annotated[str, Field(json_schema_extra={"enum": list(LEVELS)})]


class StepBody(Model):
    """`level` holds for purchases strictly later than `after`; null: since ever."""

    after: Instant | None
    level: Level


class StatusBody(Model):
    """A member's level and the way to the next one; points are whole points, bonus included."""

    member_id: str
    level: Level
    since: Instant | None = Field(description="the level holds for purchases later than this; null: since ever")
    held_until: Instant | None = Field(description="the last instant of the level as things stand; null: no end")
    collected_points: int = Field(description="collected within the running year")
    next_level: Level | None
    points_to_next_level: int | None
    points_to_keep_level: int | None = Field(
        description="so many more points, collected until `held_until`, hold the level beyond it; null: basis"
    )
    timeline: list[StepBody]


router = APIRouter(tags=["tiers"])


@router.get("/v1/members/{member_id}/status", responses=responses(MemberNotFound))
async def member_status(
    member_id: MemberId,
    snapshot: RequestSnapshot,
    programme: TheProgramme,
    now: Now,
    caller: Annotated[Caller, require("members:read")],
) -> StatusBody:
    """The level of a member now, since when, until when, and how far it is to the next."""
    found = await store.find_member(snapshot, member_id)
    if found is None:
        raise MemberNotFound("no member has this member_id")
    timeline, purchases = found
    return _body(member_id, timeline, status_at(programme, timeline, purchases, now))


def _body(member_id: str, timeline: Timeline, status: Status) -> StatusBody:
    return StatusBody(
        member_id=member_id,
        level=status.level,
        since=_instant(status.since_us),
        held_until=_instant(status.held_until_us),
        collected_points=status.collected_points,
        next_level=status.next_level,
        points_to_next_level=status.points_to_next_level,
        points_to_keep_level=status.points_to_keep_level,
        timeline=[StepBody(after=_instant(step.after_us), level=step.level) for step in timeline],
    )


def _instant(us: int | None) -> datetime | None:
    return None if us is None else to_datetime(us)
