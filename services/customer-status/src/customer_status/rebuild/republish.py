"""`customer-status republish`: every published timeline once more, as it is now.

For a consumer that lost timelines, or a topic that did. Consumers take a version that is not older than what they
have, so whoever lost nothing changes nothing. Where this database lost what it had published - an older backup was
brought back, or rows are gone - versions begin again below what consumers have: then as newer ones, of all members.
"""

from collections.abc import Callable

import asyncpg
from eventing.commands import Refused
from eventing.transaction import Transaction
from programme.timeline import TimelineChanged

from customer_status.events import timeline_changed
from customer_status.rebuild import store
from customer_status.rebuild.generations import newer
from customer_status.tiers.store import lock_members

MEMBERS_AT_ONCE = 500

Tell = Callable[[str], None]


async def republish(conn: asyncpg.Connection, member_id: str | None, tell: Tell, *, as_newer: bool = False) -> int:
    """Hand the timeline of one member, or of all, to the outbox again; returns how many.

    With `as_newer` under a generation above any before, and of members too who never had one published.

    Each batch is a transaction of its own under its members' locks, so the newest version is the last one published.
    Interrupted, it can be run again. Raises Refused for a member who has never had a timeline published.
    """
    if member_id is not None:
        if not await store.is_known(conn, member_id, published=not as_newer):
            raise Refused(f"no timeline of {member_id} was ever published")
        return await _republish_some(conn, [member_id], as_newer)
    following = store.members_after if as_newer else store.published_after
    done, after = 0, ""
    while batch := await following(conn, after, MEMBERS_AT_ONCE):
        done, after = done + await _republish_some(conn, batch, as_newer), batch[-1]
        tell(f"republish: {done:,} timelines, up to {after}")
    return done


async def _republish_some(conn: asyncpg.Connection, member_ids: list[str], as_newer: bool) -> int:
    async with conn.transaction():
        members = await lock_members(conn, member_ids)
        transaction = Transaction(conn)
        for member in members.values():
            if as_newer:
                member.generation = newer(member.generation)
                await store.replace_timeline(conn, member.account_no, member.generation, member.published)
            change = TimelineChanged(member.member_id, member.generation, member.events, member.published)
            transaction.publish(timeline_changed(member.account_no, change))
        await transaction.flush()
    return len(members)
