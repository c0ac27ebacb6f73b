"""What ends soon or has ended, told once (rules 3.9 and 3.10). Each call is one transaction of its own.

Telling changes no balance and no voucher: late or twice is harmless, because what was told is kept beside it, under
the account's lock.
"""

from collections.abc import Collection, Iterator

import asyncpg
from eventing.outbox import enqueue
from eventing.records import Message
from programme.calendar import boundary_us, civil_year
from programme.expiry import NextExpiry
from programme.instants import format_instant
from programme.terms import Programme

from loyalty import events
from loyalty.notices import store
from loyalty.points import store as accounts
from loyalty.points.account import Account
from loyalty.vouchers.domain import DAY_US, Voucher
from loyalty.vouchers.store import owners_of, read_vouchers, write_vouchers

NUMBERS_AT_ONCE = 500


async def tell_ends(conn: asyncpg.Connection, programme: Programme, at_us: int, voucher_ids: Collection[str]) -> None:
    """Tell that vouchers expire soon or have expired, as it is known at `at_us`, and when to look at them again."""
    async with conn.transaction():
        owner_nos = await owners_of(conn, voucher_ids)
        owners = {owner.account_no: owner for owner in await accounts.lock_accounts(conn, (), owner_nos)}
        vouchers = await read_vouchers(conn, voucher_ids)
        messages: list[Message] = []
        for voucher in vouchers.values():
            if voucher.notice_due_us is not None and voucher.notice_due_us <= at_us:
                messages += _end(voucher, owners[voucher.account_no], programme, at_us)
        await write_vouchers(conn, vouchers.values())
        await accounts.write_accounts(conn, owners.values())
        await enqueue(conn, messages)


async def tell_expiring_points(
    conn: asyncpg.Connection, programme: Programme, at_us: int, after_no: int = 0
) -> int | None:
    """Tell the members whose account numbers come next after `after_no` which points they lose at the next new year,
    if that is near.

    Returns the number to go on after, None behind the last one or if the new year is far.
    """
    year, to_no = civil_year(at_us) + 1, after_no + NUMBERS_AT_ONCE
    if at_us < boundary_us(year) - programme.at(at_us).expiring_soon_days * DAY_US:
        return None
    untold = await store.members_untold(conn, year, after_no, to_no)
    numbers = [account.account_no for account in untold if _loss(account, year, at_us) is not None]
    if numbers:
        async with conn.transaction():
            await accounts.lock_accounts(conn, (), numbers)
            told = await store.read_untold(conn, year, numbers)
            messages = [message for account in told for message in _losses(account, year, at_us)]
            await accounts.write_accounts(conn, told)
            await store.note_told(conn, year, [account.account_no for account in told if account.changed])
            await enqueue(conn, messages)
    return to_no if to_no < await accounts.highest_account_no(conn) else None


def _end(voucher: Voucher, owner: Account, programme: Programme, at_us: int) -> Iterator[Message]:
    """The event that is due, if one is; nobody is told of an erased owner's."""
    ending, until_us = voucher.tell_end(programme, at_us)
    if ending is None or owner.member_id is None:
        return
    until, event_no = format_instant(until_us), owner.next_event_no()
    if ending == "expired":
        yield events.account_message(owner, events.VoucherExpired(owner.member_id, event_no, voucher.voucher_id, until))
    else:
        event = events.VoucherExpiringSoon(owner.member_id, event_no, voucher.voucher_id, voucher.value_cents, until)
        yield events.account_message(owner, event)


def _losses(account: Account, year: int, at_us: int) -> Iterator[Message]:
    loss = _loss(account, year, at_us)
    if loss is not None and account.member_id is not None:
        event_no, at = account.next_event_no(), format_instant(loss.at_us)
        event = events.PointsExpiringSoon(account.member_id, event_no, loss.points, at)
        yield events.account_message(account, event)


def _loss(account: Account, year: int, at_us: int) -> NextExpiry | None:
    """What is lost at the turn to `year` if nothing more is spent."""
    expiring = account.next_expiry(at_us)
    return expiring if expiring is not None and expiring.at_us == boundary_us(year) else None
