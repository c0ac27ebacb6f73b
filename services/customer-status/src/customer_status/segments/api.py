"""Segments over HTTP: how many members are what, on any date, and snapshots of it."""

from collections.abc import AsyncIterator, Sequence
from datetime import date
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import StreamingResponse
from programme.calendar import civil_day, date_of
from programme.lifecycle import LIFECYCLES
from programme.revenue import ABC_CLASSES
from programme.terms import LEVELS
from pydantic import Field
from starlette.requests import Request
from webapi.auth import Caller, require
from webapi.database import RequestSnapshot, RequestTransaction, database_of
from webapi.models import Model
from webapi.problems import responses

from customer_status.errors import DateInTheFuture, SnapshotNotFound
from customer_status.parameters import CivilDate, Now, TheProgramme, day_asked_for
from customer_status.segments import service, store
from customer_status.segments.domain import Segment

Level = Annotated[str, Field(json_schema_extra={"enum": list(LEVELS)})]
LifecycleStatus = Annotated[str, Field(json_schema_extra={"enum": list(LIFECYCLES)})]
AbcClass = Annotated[str, Field(json_schema_extra={"enum": list(ABC_CLASSES)})]
SnapshotDate = Annotated[CivilDate, Path(alias="date", description="The day at whose end members are judged")]


class SegmentBody(Model):
    """The members who share a level, a lifecycle status and an ABC class (null: no revenue)."""

    level: Level
    lifecycle: LifecycleStatus
    abc: AbcClass | None
    members: int
    revenue_cents: int = Field(description="all that they bought and kept within the last months, of every class")


class SegmentsBody(Model):
    """All members, counted; combinations without members are left out."""

    date: date
    members: int
    revenue_cents: int
    segments: list[SegmentBody]


class SnapshotBody(SegmentsBody):
    """A stored snapshot."""

    digest: str = Field(description="hex SHA-256 of the snapshot as CSV: equal data gives equal digests")


class SnapshotWanted(Model):
    """Which day; without a date today, as far as it has gone."""

    date: CivilDate | None = None


router = APIRouter(tags=["segments"])


@router.get("/v1/segments")
async def count_segments(
    snapshot: RequestSnapshot,
    programme: TheProgramme,
    now: Now,
    caller: Annotated[Caller, require("segments:read")],
    on: Annotated[CivilDate | None, Query(alias="date", description="At the end of which day; default today")] = None,
) -> SegmentsBody:
    """How many members are what at the end of a day: by level, lifecycle and ABC class.

    Counted now from everything known that had happened by then: of a past day it may change when a till reports late.
    """
    day = day_asked_for(on, now)
    segments = await service.count_segments(snapshot, programme, day)
    return SegmentsBody(**_sums(segments), date=date_of(day), segments=_bodies(segments))


@router.post(
    "/v1/segments/snapshots",
    responses={
        201: {"model": SnapshotBody, "description": "The first snapshot of that date"},
        **responses(DateInTheFuture),
    },
)
async def take_snapshot(
    wanted: SnapshotWanted,
    response: Response,
    transaction: RequestTransaction,
    programme: TheProgramme,
    now: Now,
    caller: Annotated[Caller, require("segments:write")],
) -> SnapshotBody:
    """Store who is in which segment at the end of a day; taken again, it replaces the one of that date.

    The same data gives the same snapshot, byte for byte. Lists and the status call take ABC classes from it.
    """
    day = day_asked_for(wanted.date, now)
    if day > civil_day(now):
        raise DateInTheFuture("a snapshot tells what has happened")
    taken, is_new = await service.take_snapshot(transaction, programme, day)
    response.status_code = 201 if is_new else 200
    return _snapshot(taken)


@router.get("/v1/segments/snapshots/{date}", responses=responses(SnapshotNotFound))
async def read_snapshot(
    on: SnapshotDate, snapshot: RequestSnapshot, caller: Annotated[Caller, require("segments:read")]
) -> SnapshotBody:
    """The snapshot of a date, as it was taken."""
    return _snapshot(await _found(snapshot, on))


@router.get(
    "/v1/segments/snapshots/{date}/members.csv",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}, **responses(SnapshotNotFound)},
)
async def export_snapshot(
    on: SnapshotDate, request: Request, snapshot: RequestSnapshot, caller: Annotated[Caller, require("segments:read")]
) -> StreamingResponse:
    """The members of a snapshot as CSV, by member_id as bytes sort; its SHA-256 is the snapshot's digest.

    Members erased since are left out, and then the digest differs. A connection that breaks leaves a part of a file.
    """
    await _found(snapshot, on)

    async def lines() -> AsyncIterator[str]:
        async with database_of(request).transaction("snapshot") as connection:
            async for some in store.snapshot_lines(connection, on):
                yield some

    return StreamingResponse(lines(), media_type="text/csv; charset=utf-8")


async def _found(snapshot: RequestSnapshot, on: date) -> store.Snapshot:
    found = await store.find_snapshot(snapshot, on)
    if found is None:
        raise SnapshotNotFound(f"no snapshot was taken of {on}")
    return found


def _snapshot(found: store.Snapshot) -> SnapshotBody:
    return SnapshotBody(**_sums(found.segments), date=found.on, segments=_bodies(found.segments), digest=found.digest)


def _sums(segments: Sequence[Segment]) -> dict[str, int]:
    return {
        "members": sum(segment.members for segment in segments),
        "revenue_cents": sum(segment.revenue_cents for segment in segments),
    }


def _bodies(segments: Sequence[Segment]) -> list[SegmentBody]:
    return [SegmentBody(**segment._asdict()) for segment in segments]
