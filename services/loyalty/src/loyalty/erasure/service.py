"""Erasing a member (rules 3.14). The caller's transaction commits."""

from functools import partial

from eventing import dead_letters
from eventing.forgotten import Secret, forget, forgotten_among
from eventing.outbox import enqueue
from programme.facts import may_name_member
from programme.instants import format_instant
from webapi import idempotency

from loyalty import events
from loyalty.adjustments.store import forget_adjustments
from loyalty.erasure.store import cut_link
from loyalty.errors import MemberNotFound
from loyalty.points import store as accounts
from loyalty.points.store import Connection


async def erase(conn: Connection, secret: Secret, member_id: str, now_us: int) -> None:
    """Cut the link between a member and their account, and delete what names them; a second time changes nothing.

    Raises `MemberNotFound` for somebody nobody ever heard of: erasing a mistyped number would shut its owner out.
    """
    known = await accounts.find_account(conn, member_id)
    if known is None:
        if await forgotten_among(conn, secret, [member_id]):
            return
        raise MemberNotFound(f"There is no member {member_id}.")
    number = known.account_no
    [account] = await accounts.lock_accounts(conn, (), [number])
    if account.member_id is None:
        return  # erased meanwhile
    await forget(conn, secret, [member_id])
    await cut_link(conn, number)
    await forget_adjustments(conn, number, now_us)
    await dead_letters.delete_about(conn, member_id, partial(may_name_member, member_id=member_id))
    await idempotency.forget(conn, member_id)
    erased = events.MemberErased(member_id, format_instant(now_us))
    await enqueue(conn, [events.member_erased(number, erased)])
