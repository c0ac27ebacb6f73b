"""`loyalty state`: one object a member, computed from what is known of each purchase and never from the ledger.

Also the comparison that tests and `kundenclub verify` use: two histories of the same events, in whatever order they
arrived, print the same lines.
"""

from collections.abc import AsyncIterator

import asyncpg
import msgspec
from eventing.database import allow_long_statements
from programme.digest import digest
from programme.terms import Programme

from loyalty.audit import store
from loyalty.audit.as_of import as_of
from loyalty.audit.store import AccountHistory


class MemberState(msgspec.Struct):
    """Points of one member; the keys are those of the printed object."""

    member_id: str
    balance: int
    earned: int
    bonus: int
    spent: int
    expired: int
    adjusted: int
    purchases: int
    digest: str


async def states(
    conn: asyncpg.Connection, programme: Programme, at_us: int | None, known_us: int | None, now_us: int
) -> AsyncIterator[MemberState]:
    """Every member's state, sorted by `member_id` as bytes: at `at_us`, by what was known at `known_us`.

    Without `at_us` no event is left out for its date, and `now_us` decides expiry.
    """
    async with conn.transaction(isolation="repeatable_read", readonly=True):
        await allow_long_statements(conn)
        async for histories in store.histories(conn):
            for history in histories:
                state = state_of(history, programme, at_us, known_us, now_us)
                if state is not None:
                    yield state


def state_of(
    history: AccountHistory, programme: Programme, at_us: int | None, known_us: int | None, now_us: int
) -> MemberState | None:
    """One member's state; None for an erased one, or one of whom nothing had happened and was known then."""
    then = as_of(history, programme, at_us, known_us)
    if history.account.member_id is None or then is None:
        return None
    moment_us = now_us if at_us is None else at_us
    points = [bought.points for bought in then.purchases]
    return MemberState(
        member_id=history.account.member_id,
        balance=then.balance_points(moment_us),
        earned=sum(point.total for point in points),
        bonus=sum(point.bonus for point in points),
        spent=then.spent_points(),
        expired=then.expired_points(moment_us),
        adjusted=then.adjusted_points(),
        purchases=len(points),
        digest=digest((bought.purchase_id, bought.remaining_cents, bought.bonus_percent) for bought in then.purchases),
    )
