"""What was recommended for a member, for whoever answers their questions about it."""

from typing import Annotated

from fastapi import APIRouter
from webapi.auth import Caller, require
from webapi.database import RequestSnapshot
from webapi.models import Instant, Model
from webapi.pages import Page, PageOf, paged
from webapi.problems import responses

from customer_status.contacts import store
from customer_status.errors import MemberNotFound
from customer_status.parameters import MemberId
from customer_status.tiers.store import find_account_no

router = APIRouter(tags=["contacts"])


class ContactBody(Model):
    """A contact that was recommended to the newsletter system; whether it was sent is known there."""

    contact_no: int
    kind: str
    cause: str
    channels: list[str]
    recommended_at: Instant


@router.get("/v1/members/{member_id}/contacts", responses=responses(MemberNotFound))
async def contacts_of_member(
    member_id: MemberId,
    page: Annotated[Page, paged(int)],
    snapshot: RequestSnapshot,
    caller: Annotated[Caller, require("members:read")],
) -> PageOf[ContactBody]:
    """What was recommended for a member, newest first."""
    account_no = await find_account_no(snapshot, member_id)
    if account_no is None:
        raise MemberNotFound("no member has this member_id")
    before = int(page.after[0]) if page.after else None
    found = await store.contacts_of_member(snapshot, account_no, before, page.fetch)
    shown, cursor = page.split(found, lambda row: (row["contact_no"],))
    bodies = [
        ContactBody(
            contact_no=row["contact_no"],
            kind=row["kind"],
            cause=row["cause"],
            channels=row["channels"],
            recommended_at=row["told_at"],
        )
        for row in shown
    ]
    return PageOf[ContactBody](items=bodies, next_cursor=cursor)
