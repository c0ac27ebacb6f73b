"""What a basket would earn and whether a voucher could pay for it: the rules, asked beforehand."""

from collections.abc import Mapping
from typing import NamedTuple

from programme.points import Points, eligible_cents, points_of
from programme.terms import BASE_LEVEL, Programme
from programme.timeline import level_at
from webapi.problems import Problem

from loyalty.errors import MemberNotFound
from loyalty.points.store import Connection, find_account
from loyalty.vouchers.domain import Voucher
from loyalty.vouchers.service import Vouchers


class Quote(NamedTuple):
    """What would be earned, the voucher asked for, and what speaks against it."""

    level: str
    bonus_percent: int
    eligible_cents: int
    points: Points
    voucher: Voucher | None
    refusal: Problem | None


async def quote(
    conn: Connection,
    programme: Programme,
    vouchers: Vouchers,
    *,
    cents_by_class: Mapping[str, int],
    member_id: str | None,
    occurred_us: int,
    code: str | None,
    purchase_id: str | None,
    now_us: int,
) -> Quote:
    """Judge a basket bought at `occurred_us` by what is known now, and a voucher redeemed now. Changes nothing.

    Raises `MemberNotFound`, `VoucherNotFound`.
    """
    terms, level = programme.at(occurred_us), BASE_LEVEL
    if member_id is not None:
        account = await find_account(conn, member_id)
        if account is None:
            raise MemberNotFound(f"There is no member {member_id}.")
        level = level_at(account.timeline, occurred_us)
    cents, percent = eligible_cents(cents_by_class, terms), terms.bonus_percent[level]
    voucher, refusal = None, None
    if code is not None:
        voucher = await vouchers.check(conn, code)
        refusal = await vouchers.refusal(conn, voucher, purchase_id or "", cents_by_class, now_us)
    return Quote(level, percent, cents, points_of(cents, percent), voucher, refusal)
