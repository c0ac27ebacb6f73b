"""Giving and taking points by hand. The caller's transaction commits."""

from typing import NamedTuple

from eventing.outbox import enqueue
from programme.terms import Programme

from loyalty.adjustments import store
from loyalty.adjustments.domain import Adjustment, Person, post
from loyalty.errors import (
    AdjustmentDecided,
    AdjustmentNotFound,
    InsufficientPoints,
    MemberNotFound,
    SecondPersonNeeded,
)
from loyalty.events import points_posted
from loyalty.points import store as accounts
from loyalty.points.account import Account
from loyalty.points.store import Connection


class Adjusted(NamedTuple):
    """An adjustment and the member whose it is."""

    member_id: str
    adjustment: Adjustment


async def request(
    conn: Connection,
    programme: Programme,
    member_id: str,
    points: int,
    reason: str,
    text: str,
    person: Person,
    now_us: int,
) -> Adjusted:
    """Post signed points, or let them wait for a second person if they are more than the terms let one decide.

    Raises `MemberNotFound`, and `InsufficientPoints` for a debit that the balance does not hold.
    """
    known = await accounts.find_account(conn, member_id)
    if known is None:
        raise MemberNotFound(f"There is no member {member_id}.")
    account = await _locked(conn, known.account_no)
    _refuse_overdraft(account, points, now_us)
    adjustment = Adjustment(0, account.account_no, points, reason, text, person, now_us)
    await store.add_adjustment(conn, adjustment)
    if abs(points) <= programme.at(now_us).adjustment_limit_points:
        await _post(conn, account, adjustment, now_us)
    return Adjusted(member_id, adjustment)


async def approve(conn: Connection, adjustment_id: int, person: Person, now_us: int) -> Adjusted:
    """Post an adjustment that waits; once posted, asking again changes nothing.

    Raises `AdjustmentNotFound`, `AdjustmentDecided`, `SecondPersonNeeded`, `InsufficientPoints`.
    """
    account, adjustment = await _locked_adjustment(conn, adjustment_id)
    if _waits(adjustment, "posted", person):
        _refuse_overdraft(account, adjustment.points, now_us)
        adjustment.decided_by = person
        await _post(conn, account, adjustment, now_us)
    return Adjusted(account.member_id or "", adjustment)


async def reject(conn: Connection, adjustment_id: int, person: Person, now_us: int) -> Adjusted:
    """Drop an adjustment that waits; once rejected, asking again changes nothing.

    Raises `AdjustmentNotFound`, `AdjustmentDecided`, `SecondPersonNeeded`.
    """
    account, adjustment = await _locked_adjustment(conn, adjustment_id)
    if _waits(adjustment, "rejected", person):
        adjustment.state, adjustment.decided_by, adjustment.decided_us = "rejected", person, now_us
        await store.write_decision(conn, adjustment)
    return Adjusted(account.member_id or "", adjustment)


async def _locked(conn: Connection, account_no: int) -> Account:
    [account] = await accounts.lock_accounts(conn, (), [account_no])
    if account.member_id is None:
        raise MemberNotFound("The member was erased.")
    return account


async def _locked_adjustment(conn: Connection, adjustment_id: int) -> tuple[Account, Adjustment]:
    """The account is locked, then what may have been decided meanwhile is read again."""
    known = await store.find_adjustment(conn, adjustment_id)
    if known is None:
        raise AdjustmentNotFound("There is no adjustment with this id.")
    try:
        account = await _locked(conn, known.account_no)
    except MemberNotFound:
        raise AdjustmentNotFound("There is no adjustment with this id.") from None
    adjustment = await store.find_adjustment(conn, adjustment_id)
    assert adjustment is not None, "adjustments are never deleted"
    return account, adjustment


def _waits(adjustment: Adjustment, wanted: str, person: Person) -> bool:
    """False if it is already what is `wanted`."""
    if adjustment.state not in ("pending", wanted):
        raise AdjustmentDecided(f"The adjustment is {adjustment.state} already.", state=adjustment.state)
    if person.may_be(adjustment.requested_by):
        raise SecondPersonNeeded("Somebody else than who asked for it has to decide.")
    return adjustment.state == "pending"


def _refuse_overdraft(account: Account, points: int, now_us: int) -> None:
    balance = account.available_points(now_us)
    if points < 0 and balance + points < 0:
        raise InsufficientPoints(
            f"{-points} points cannot be taken from {balance}.", balance_points=balance, needed_points=-points
        )


async def _post(conn: Connection, account: Account, adjustment: Adjustment, now_us: int) -> None:
    post(account, adjustment, now_us)
    await store.write_decision(conn, adjustment)
    messages = points_posted(account)
    await accounts.write_accounts(conn, [account])
    await enqueue(conn, messages)
