"""Lists of members for CRM over HTTP, in pages and as CSV."""

import csv
import io
from collections.abc import AsyncIterator, Sequence
from datetime import date
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from fastapi.responses import StreamingResponse
from programme.calendar import date_of
from pydantic import Field
from starlette.requests import Request
from webapi.auth import Caller, require
from webapi.database import RequestSnapshot, database_of
from webapi.models import Model
from webapi.pages import Page, encode_cursor, paged
from webapi.problems import responses

from customer_status.errors import SnapshotNotFound
from customer_status.lists.domain import Listed, Wanted
from customer_status.lists.service import MemberList
from customer_status.parameters import CivilDate, Now, TheProgramme, day_asked_for
from customer_status.segments.store import newest_snapshot
from customer_status.status.api import Level, LifecycleBody

router = APIRouter(tags=["lists"])

COLUMNS = ("member_id", "level", "lifecycle", "at_risk_since", "reactivated_on", "abc", "contact_person")


class ListedBody(Model):
    """A member in a list."""

    member_id: str
    level: Level
    lifecycle: LifecycleBody
    abc: Annotated[str, Field(json_schema_extra={"enum": ["A", "B", "C"]})] | None
    contact_person: str | None


class MemberPage(Model):
    """`next_cursor` is null on the last page; others may have fewer members than `limit`, even none."""

    abc_date: date | None = Field(description="the snapshot that ABC classes are of; null: none was taken by then")
    date: date
    items: list[ListedBody]
    next_cursor: str | None


async def _member_list(
    snapshot: RequestSnapshot,
    programme: TheProgramme,
    now: Now,
    level: Annotated[Literal["basis", "silver", "gold"] | None, Query(description="Only this level")] = None,
    lifecycle: Annotated[
        Literal["interessent", "neukunde", "stammkunde", "bestandskunde", "altkunde"] | None,
        Query(description="Only this lifecycle status"),
    ] = None,
    abc: Annotated[Literal["A", "B", "C"] | None, Query(description="Only this class in the newest snapshot")] = None,
    at_risk: Annotated[bool | None, Query(description="Only members at risk, or only others")] = None,
    reactivated: Annotated[bool | None, Query(description="Only reactivated members, or only others")] = None,
    contact_person: Annotated[bool | None, Query(description="Only members with a contact person, or without")] = None,
    on: Annotated[CivilDate | None, Query(alias="date", description="At the end of which day; default today")] = None,
) -> MemberList:
    day = day_asked_for(on, now)
    newest = await newest_snapshot(snapshot, date_of(day))
    if abc is not None and newest is None:
        raise SnapshotNotFound(f"no snapshot was taken of {date_of(day)} or before: nobody has a class")
    return MemberList(programme, Wanted(level, lifecycle, abc, at_risk, reactivated, contact_person), day, newest)


TheList = Annotated[MemberList, Depends(_member_list, scope="function")]


@router.get("/v1/members", responses=responses(SnapshotNotFound))
async def list_members(
    members: TheList,
    page: Annotated[Page, paged(str)],
    snapshot: RequestSnapshot,
    caller: Annotated[Caller, require("segments:read")],
) -> MemberPage:
    """Members by member_id, those that fit all filters.

    A call examines a bounded number of members, so go on until `next_cursor` is null. Members without a contact person
    among key accounts: `abc=A&contact_person=false`.
    """
    found, cursor_after = await members.page(snapshot, "" if page.after is None else str(page.after[0]), page.limit)
    return MemberPage(
        date=date_of(members.day),
        abc_date=members.snapshot,
        items=[_body(member) for member in found],
        next_cursor=None if cursor_after is None else encode_cursor((cursor_after,)),
    )


@router.get(
    "/v1/members.csv",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}, **responses(SnapshotNotFound)},
)
async def export_members(
    members: TheList, request: Request, caller: Annotated[Caller, require("segments:read")]
) -> StreamingResponse:
    """The whole list as CSV, of one moment, in the same order.

    A connection that breaks leaves a part of a file.
    """

    async def lines() -> AsyncIterator[str]:
        yield _csv([COLUMNS])
        async with database_of(request).transaction("snapshot") as connection:
            async for found in members.pages(connection):
                yield _csv([_row(member) for member in found])

    return StreamingResponse(lines(), media_type="text/csv; charset=utf-8")


def _body(member: Listed) -> ListedBody:
    status, at_risk_since, reactivated = member.standing
    return ListedBody(
        member_id=member.member_id,
        level=member.level,
        lifecycle=LifecycleBody(status=status, at_risk_since=_date(at_risk_since), reactivated_on=_date(reactivated)),
        abc=member.abc,
        contact_person=member.contact_person,
    )


def _row(member: Listed) -> Sequence[Any]:
    status, at_risk_since, reactivated = member.standing
    dates = (_date(at_risk_since), _date(reactivated))
    return (member.member_id, member.level, status, *dates, member.abc, member.contact_person)


def _date(day: int | None) -> date | None:
    return None if day is None else date_of(day)


def _csv(rows: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
