"""Who looks after a key account, over HTTP."""

from typing import Annotated

from fastapi import APIRouter
from programme.calendar import civil_day, date_of
from programme.instants import to_datetime
from pydantic import Field
from webapi.auth import Caller, require
from webapi.database import RequestTransaction
from webapi.models import Model
from webapi.problems import responses

from customer_status.errors import MemberNotFound, NoKeyAccount
from customer_status.key_accounts import store
from customer_status.parameters import MemberId, Now
from customer_status.status.api import ContactPersonBody
from customer_status.status.store import ContactPerson
from customer_status.tiers.store import lock_known_member

KEY_ACCOUNTS = "A"

router = APIRouter(tags=["key accounts"])


class Assignment(Model):
    """A colleague. The name begins with a letter: it ends up in tables, where = begins a formula."""

    name: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\W\d_][^\x00-\x1f\x7f]*$")]
    email: Annotated[str, Field(max_length=200, pattern=r"^[^\s@,;]+@[^\s@,;]+$")] | None = None


@router.put("/v1/members/{member_id}/contact-person", responses=responses(MemberNotFound, NoKeyAccount))
async def assign_contact_person(
    member_id: MemberId,
    person: Assignment,
    transaction: RequestTransaction,
    now: Now,
    caller: Annotated[Caller, require("contact-persons:write")],
) -> ContactPersonBody:
    """Say who looks after a member of class A, in the place of whoever did before.

    Somebody who is assigned stays so when the member leaves class A; take them away when it is time.
    """
    account_no = await lock_known_member(transaction, member_id)
    if account_no is None:
        raise MemberNotFound("no member has this member_id")
    if await store.abc_of(transaction, account_no, date_of(civil_day(now))) != KEY_ACCOUNTS:
        raise NoKeyAccount("the member is not of class A in the newest snapshot")
    new = ContactPerson(person.name, person.email, to_datetime(now))
    since = await store.assign(transaction, account_no, new, caller.identity)
    return ContactPersonBody(name=new.name, email=new.email, assigned_at=since)


@router.delete("/v1/members/{member_id}/contact-person", status_code=204, responses=responses(MemberNotFound))
async def remove_contact_person(
    member_id: MemberId,
    transaction: RequestTransaction,
    caller: Annotated[Caller, require("contact-persons:write")],
) -> None:
    """Say that nobody looks after the member any more; also if nobody did."""
    account_no = await lock_known_member(transaction, member_id)
    if account_no is None:
        raise MemberNotFound("no member has this member_id")
    await store.forget(transaction, [account_no])
