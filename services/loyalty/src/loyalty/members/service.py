"""Joining the club, and what is told of a member. The caller's transaction commits."""

from collections.abc import Sequence
from typing import NamedTuple

from eventing.forgotten import Secret
from eventing.outbox import enqueue
from programme.expiry import NextExpiry, next_expiry
from programme.instants import format_instant
from programme.terms import Programme
from programme.timeline import Timeline, level_at

from loyalty import events
from loyalty.adjustments.store import reasons_of
from loyalty.audit.as_of import as_of
from loyalty.audit.store import history_of
from loyalty.errors import MemberErased
from loyalty.members.domain import Cause, LedgerLine, adjustment_ids, named_ids, tell
from loyalty.members.store import entries_of_purchase, read_moments, returns_of_purchase
from loyalty.points import store
from loyalty.points.account import Account
from loyalty.points.domain import KnownReturn, Position
from loyalty.points.store import Connection
from loyalty.vouchers.domain import Voucher
from loyalty.vouchers.store import vouchers_of

MOST_ENTRIES = MOST_RETURNS = 1_000
"""Of one purchase; more than that no answer holds."""


class Joined(NamedTuple):
    """The account, and whether it joined just now."""

    account: Account
    is_new: bool


class Standing(NamedTuple):
    """What a member has at a moment."""

    joined_us: int | None
    balance_points: int
    level: str
    bonus_percent: int
    cheapest_voucher_points: int | None
    expiring_next: NextExpiry | None
    open_vouchers: list[tuple[Voucher, int]]
    """Those that are not used, reserved ones too, each with the first instant it can no longer be used."""


class ExplainedPurchase(NamedTuple):
    """A purchase with what its points follow from."""

    position: Position
    returns: list[KnownReturn]
    timeline: Timeline
    entries: list[tuple[LedgerLine, Cause]]


async def join(conn: Connection, secret: Secret, member_id: str, now_us: int) -> Joined:
    """Join a member who may already have bought; a second time changes nothing. Raises `MemberErased`."""
    locked = await store.lock_accounts(conn, [member_id], secret=secret)
    if not locked:
        raise MemberErased(f"Member {member_id} was erased; a new card has a new number.")
    [account] = locked
    if account.joined_us is not None:
        return Joined(account, is_new=False)
    account.joined_us = now_us
    await store.write_joined(conn, account)
    joined = events.MemberJoined(member_id, format_instant(now_us))
    await enqueue(conn, [events.member_joined(account, joined)])
    return Joined(account, is_new=True)


async def standing_now(conn: Connection, programme: Programme, member_id: str, now_us: int) -> Standing | None:
    """What a member has now, by the sums that are kept with the account; None for an unknown member."""
    account = await store.find_account(conn, member_id)
    if account is None:
        return None
    vouchers = await vouchers_of(conn, [account.account_no])
    return _standing(
        programme,
        now_us,
        account.joined_us,
        account.available_points(now_us),
        account.timeline,
        account.next_expiry(now_us),
        vouchers,
    )


async def standing_then(
    conn: Connection, programme: Programme, member_id: str, at_us: int | None, known_us: int | None, now_us: int
) -> Standing | None:
    """What a member had at `at_us` (else now) by what was known at `known_us`, computed from their whole history.

    None: nothing had happened, or nothing was known.
    """
    history = await history_of(conn, member_id)
    then = None if history is None else as_of(history, programme, at_us, known_us)
    if history is None or then is None:
        return None
    moment_us = now_us if at_us is None else at_us
    clocks = [us for us in (at_us, known_us) if us is not None]
    joined_us = history.account.joined_us
    return _standing(
        programme,
        moment_us,
        joined_us if joined_us is not None and all(joined_us <= us for us in clocks) else None,
        then.balance_points(moment_us),
        then.timeline,
        next_expiry(then.earned_by_year(), then.debited_by_year(), moment_us),
        then.vouchers,
    )


async def explain_purchase(conn: Connection, account: Account, purchase_id: str) -> ExplainedPurchase | None:
    """A purchase of an account with all its entries; None if the account does not know it."""
    key = (account.account_no, purchase_id)
    position = (await store.read_positions(conn, [key])).get(key)
    if position is None:
        return None
    lines = await entries_of_purchase(conn, *key, MOST_ENTRIES)
    return ExplainedPurchase(
        position,
        await returns_of_purchase(conn, *key, MOST_RETURNS),
        account.timeline,
        await explain_entries(conn, account.account_no, lines),
    )


async def explain_entries(
    conn: Connection, account_no: int, lines: Sequence[LedgerLine]
) -> list[tuple[LedgerLine, Cause]]:
    """Each entry of an account with its cause in words."""
    moments = await read_moments(conn, account_no, *named_ids(lines))
    moments = moments._replace(reasons=await reasons_of(conn, adjustment_ids(lines)))
    return [(line, tell(line, moments)) for line in lines]


def _standing(
    programme: Programme,
    moment_us: int,
    joined_us: int | None,
    balance_points: int,
    timeline: Timeline,
    expiring_next: NextExpiry | None,
    vouchers: list[Voucher],
) -> Standing:
    terms, level = programme.at(moment_us), level_at(timeline, moment_us)
    usable = [voucher for voucher in vouchers if voucher.state_at(moment_us, programme) in ("open", "reserved")]
    return Standing(
        joined_us=joined_us,
        balance_points=balance_points,
        level=level,
        bonus_percent=terms.bonus_percent[level],
        cheapest_voucher_points=min(
            (reward.points for reward in terms.rewards.values() if reward.kind == "voucher"), default=None
        ),
        expiring_next=expiring_next,
        open_vouchers=[(voucher, voucher.usable_until_us(programme)) for voucher in usable],
    )
