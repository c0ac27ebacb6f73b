"""`customer-status state`: one object a member, computed from purchases and returns, never from the packed levels.

Also the comparison that tests and `kundenclub verify` use: two services with the same events, in whatever order they
arrived, print the same lines.
"""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
from eventing.database import Connection, allow_long_statements
from programme import state as programme_state
from programme.digest import digest
from programme.facts import Purchase, Return
from programme.terms import BASE_LEVEL, Programme
from programme.timeline import BASIS, steps_to_json

from customer_status.audit import store
from customer_status.audit.store import History


class MemberState(msgspec.Struct):
    """The levels of one member; the keys are those of the printed object."""

    member_id: str
    level: str
    timeline: list[dict[str, Any]]
    purchases: int
    digest: str


async def states(conn: Connection, programme: Programme, at_us: int | None, now_us: int) -> AsyncIterator[MemberState]:
    """Every member's state, sorted by `member_id` as bytes: at `at_us`, or of all events and the level of now."""
    async with conn.transaction(isolation="repeatable_read", readonly=True):
        await allow_long_statements(conn)
        async for histories in store.histories(conn):
            for history in histories:
                state = state_of(history, programme, at_us, now_us)
                if state is not None:
                    yield state


def state_of(history: History, programme: Programme, at_us: int | None, now_us: int) -> MemberState | None:
    """One member's state; None for an erased one, or one of whom nothing had happened at `at_us`."""
    if history.member_id is None:
        return None
    known: list[Purchase | Return] = [row.fact for row in history.purchases]
    known += [row.fact for row in history.returns]
    facts = [fact for fact in known if at_us is None or fact.occurred_us <= at_us]
    if at_us is not None and not (facts or _had_joined(history, at_us)):
        return None
    judged = programme_state.state_of(programme, facts, now_us if at_us is None else at_us)
    if not judged:
        return MemberState(history.member_id, BASE_LEVEL, steps_to_json(BASIS), 0, digest([]))
    [state] = judged
    return MemberState(
        member_id=state.member_id,
        level=state.level,
        timeline=steps_to_json(state.timeline),
        purchases=state.purchases,
        digest=state.digest,
    )


def _had_joined(history: History, at_us: int) -> bool:
    return history.joined_us is not None and history.joined_us <= at_us
