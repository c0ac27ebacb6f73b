"""`loyalty state`: one object a member, computed from what is known of each purchase and never from the ledger.

Also the comparison that tests and `kundenclub verify` use: two histories of the same events, in whatever order they
arrived, print the same lines.
"""

from collections.abc import AsyncIterator

import asyncpg
import msgspec
from eventing.database import allow_long_statements
from programme.calendar import civil_year
from programme.digest import digest
from programme.expiry import expired_points
from programme.points import eligible_cents, points_of, remaining_cents
from programme.terms import Programme

from loyalty.audit import store
from loyalty.audit.store import AccountHistory
from loyalty.points.domain import Position


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
    conn: asyncpg.Connection, programme: Programme, at_us: int | None, now_us: int
) -> AsyncIterator[MemberState]:
    """Every member's state, sorted by `member_id` as bytes: at `at_us`, or of all events and the expiry of now."""
    async with conn.transaction(isolation="repeatable_read", readonly=True):
        await allow_long_statements(conn)
        async for histories in store.histories(conn):
            for history in histories:
                state = state_of(history, programme, at_us, now_us)
                if state is not None:
                    yield state


def state_of(history: AccountHistory, programme: Programme, at_us: int | None, now_us: int) -> MemberState | None:
    """One member's state; None for an erased one, or one of whom nothing had happened at `at_us`."""
    member_id = history.account.member_id
    if member_id is None:
        return None
    positions = [p for p in history.positions if at_us is None or p.purchase.occurred_us <= at_us]
    returned, complete = _taken_back(history, programme, at_us)
    earned = bonus = 0
    earned_by_year: dict[int, int] = {}
    rows: list[tuple[str, int, int]] = []
    for position in positions:
        purchase = position.purchase
        back = returned.get(purchase.purchase_id, 0)
        remaining = remaining_cents(position.eligible_cents, back, purchase.purchase_id in complete)
        points = points_of(remaining, position.bonus_percent)
        earned, bonus = earned + points.total, bonus + points.bonus
        year = civil_year(purchase.occurred_us)
        earned_by_year[year] = earned_by_year.get(year, 0) + points.total
        rows.append((purchase.purchase_id, remaining, position.bonus_percent))
    debited_by_year = _debits(history, at_us)
    if at_us is not None and not rows and not debited_by_year and not _had_appeared(history, at_us):
        return None
    spent = sum(debited_by_year.values())
    expired = expired_points(earned_by_year, debited_by_year, now_us if at_us is None else at_us)
    return MemberState(
        member_id=member_id,
        balance=earned - spent - expired,
        earned=earned,
        bonus=bonus,
        spent=spent,
        expired=expired,
        adjusted=0,
        purchases=len(rows),
        digest=digest(rows),
    )


def _taken_back(history: AccountHistory, programme: Programme, at_us: int | None) -> tuple[dict[str, int], set[str]]:
    """Eligible cents returned by purchase_id, and the purchases returned completely, by the terms of the purchase."""
    bought: dict[str, Position] = {position.purchase.purchase_id: position for position in history.positions}
    returned: dict[str, int] = {}
    complete: set[str] = set()
    for row in history.returns:
        position = bought.get(row.fact.purchase_id)
        if position is None or (at_us is not None and row.fact.occurred_us > at_us):
            continue
        terms = programme.at(position.purchase.occurred_us)
        cents = eligible_cents(row.fact.cents_by_class, terms)
        returned[row.fact.purchase_id] = returned.get(row.fact.purchase_id, 0) + cents
        if row.fact.complete:
            complete.add(row.fact.purchase_id)
    return returned, complete


def _debits(history: AccountHistory, at_us: int | None) -> dict[int, int]:
    debits: dict[int, int] = {}
    for voucher in history.vouchers:
        if at_us is None or voucher.issued_us <= at_us:
            year = civil_year(voucher.issued_us)
            debits[year] = debits.get(year, 0) + voucher.points
    return debits


def _had_appeared(history: AccountHistory, at_us: int) -> bool:
    joined_us = history.account.joined_us
    returned = any(row.fact.occurred_us <= at_us for row in history.returns)
    return returned or (joined_us is not None and joined_us <= at_us)
