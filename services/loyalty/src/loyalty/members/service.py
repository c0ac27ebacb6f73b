"""Joining the club. The caller's transaction commits."""

from typing import NamedTuple

from eventing.outbox import enqueue
from programme.instants import format_instant

from loyalty import events
from loyalty.points import store
from loyalty.points.domain import Account
from loyalty.points.store import Connection


class Joined(NamedTuple):
    """The account, and whether it joined just now."""

    account: Account
    is_new: bool


async def join(conn: Connection, member_id: str, now_us: int) -> Joined:
    """Join a member who may already have bought; a second time changes nothing."""
    await store.lock_accounts(conn, [member_id])
    account = (await store.read_accounts(conn, [member_id]))[member_id]
    if account.joined_us is not None:
        return Joined(account, is_new=False)
    account.joined_us, account.changed = now_us, True
    await store.write_accounts(conn, [account])
    joined = events.MemberJoined(member_id, format_instant(now_us))
    await enqueue(conn, [events.member_joined(account, joined)])
    return Joined(account, is_new=True)
