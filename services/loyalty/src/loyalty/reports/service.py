"""The liability report: one pass over all accounts in one snapshot."""

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

from programme.calendar import civil_year
from programme.terms import Programme
from programme.timeline import level_at

from loyalty.audit.as_of import as_of
from loyalty.audit.store import histories_from
from loyalty.points.account import Account
from loyalty.points.store import Connection
from loyalty.reports.domain import Liability, Standing, Sums, rate_of
from loyalty.reports.store import accounts_after, entry_sums_between
from loyalty.vouchers.domain import Voucher
from loyalty.vouchers.store import vouchers_of

AT_ONCE = 500
BEFORE_ALL = -(2**63)
"""A stray entry may have any number."""


class _Then(NamedTuple):
    """An account now, and what it had got and given by the report's moment."""

    account: Account
    sums: Sums
    vouchers: Sequence[Voucher]


async def liability(conn: Connection, programme: Programme, at_us: int | None, now_us: int) -> Liability:
    """Outstanding points and open vouchers; call it in a REPEATABLE READ transaction.

    Without `at_us` of now, by the sums that are kept with each account. With it by what had happened by then, as far
    as it is known now: computed from every account's whole history, which takes a hundred times as long.
    """
    moment_us = now_us if at_us is None else at_us
    found = Liability(moment_us, civil_year(moment_us), rate_of(programme.at(moment_us)))
    last = BEFORE_ALL
    async for accounts in _accounts(conn, programme, at_us):
        highest = accounts[-1].account.account_no
        entries = await entry_sums_between(conn, last, highest)
        last = highest
        for account, then, vouchers in accounts:
            standing = Standing(
                account.member_id is None,
                level_at(account.timeline, moment_us),
                then,
                Sums(account.earned_by_year, account.debited_by_year),
                entries.pop(account.account_no, 0),
                account.expired_points,
            )
            found.add_account(standing)
            usable = [each for each in vouchers if each.state_at(moment_us, programme) in ("open", "reserved")]
            # A voucher ends at a midnight, so the last moment before it tells the year.
            found.add_vouchers((each, civil_year(each.usable_until_us(programme) - 1)) for each in usable)
        for points in entries.values():
            found.add_stray_entries(points)
    for points in (await entry_sums_between(conn, last, None)).values():
        found.add_stray_entries(points)
    return found


async def _accounts(conn: Connection, programme: Programme, at_us: int | None) -> AsyncIterator[list[_Then]]:
    """All accounts by number, some hundred at a time."""
    last = BEFORE_ALL
    while True:
        page = await (_now(conn, last) if at_us is None else _then(conn, programme, last, at_us))
        if not page:
            return
        yield page
        last = page[-1].account.account_no


async def _now(conn: Connection, after_no: int) -> list[_Then]:
    accounts = await accounts_after(conn, after_no, AT_ONCE)
    vouchers: dict[int, list[Voucher]] = {account.account_no: [] for account in accounts}
    for voucher in await vouchers_of(conn, list(vouchers)):
        vouchers[voucher.account_no].append(voucher)
    return [
        _Then(each, Sums(each.earned_by_year, each.debited_by_year), vouchers[each.account_no]) for each in accounts
    ]


async def _then(conn: Connection, programme: Programme, after_no: int, at_us: int) -> list[_Then]:
    page = []
    for history in await histories_from(conn, after_no + 1, AT_ONCE):
        then = as_of(history, programme, at_us, None)
        sums = Sums({}, {}) if then is None else Sums(then.earned_by_year(), then.debited_by_year())
        page.append(_Then(history.account, sums, () if then is None else then.vouchers))
    return page
