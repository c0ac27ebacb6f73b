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
from programme.terms import BASE_LEVEL, Programme
from programme.timeline import BASIS, steps_to_json

from customer_status.audit import store
from customer_status.audit.store import History
from customer_status.tiers.domain import PurchaseRow, ReturnRow


class MemberState(msgspec.Struct):
    """The levels of one member; the keys are those of the printed object."""

    member_id: str
    level: str
    timeline: list[dict[str, Any]]
    purchases: int
    digest: str


async def states(
    conn: Connection, programme: Programme, at_us: int | None, known_us: int | None, now_us: int
) -> AsyncIterator[MemberState]:
    """Every member's state, sorted by `member_id` as bytes: at `at_us`, by what was known at `known_us`.

    Without `at_us` no event is left out for its date, and `now_us` decides the level.
    """
    async with conn.transaction(isolation="repeatable_read", readonly=True):
        await allow_long_statements(conn)
        async for histories in store.histories(conn):
            for history in histories:
                state = state_of(history, programme, at_us, known_us, now_us)
                if state is not None:
                    yield state


def state_of(
    history: History, programme: Programme, at_us: int | None, known_us: int | None, now_us: int
) -> MemberState | None:
    """One member's state; None for an erased one, or one of whom nothing had happened and was known then.

    A purchase or return is known from its record's stamp on, a joining from its own instant on.
    """
    if history.member_id is None:
        return None

    def counts(occurred_us: int, received_us: int) -> bool:
        return (at_us is None or occurred_us <= at_us) and (known_us is None or received_us <= known_us)

    rows: list[PurchaseRow | ReturnRow] = [*history.purchases, *history.returns]
    facts = [row.fact for row in rows if counts(row.fact.occurred_us, row.received_us)]
    has_joined = history.joined_us is not None and counts(history.joined_us, history.joined_us)
    if not (facts or has_joined or (at_us is None and known_us is None)):
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
