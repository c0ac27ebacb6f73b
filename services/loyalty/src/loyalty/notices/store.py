"""All SQL of notices that is not the vouchers' or the accounts' own."""

from collections.abc import Collection
from typing import NamedTuple

from programme.instants import from_datetime, to_datetime

from loyalty.points.account import Account
from loyalty.points.rows import account_of
from loyalty.points.store import ACCOUNT, Connection


class Due(NamedTuple):
    """A voucher whose end may have to be told, by what it is sorted by."""

    due_us: int
    voucher_no: int
    voucher_id: str


async def due_vouchers(conn: Connection, at_us: int, after: tuple[int, int], limit: int) -> list[Due]:
    """At most `limit` vouchers to look at, those due first, after the (due_us, voucher_no) of an earlier one."""
    rows = await conn.fetch(
        """
        SELECT notice_due_at, voucher_no, voucher_id FROM voucher
        WHERE notice_due_at <= $1 AND (notice_due_at, voucher_no) > ($2, $3)
        ORDER BY notice_due_at, voucher_no LIMIT $4
        """,
        to_datetime(at_us),
        to_datetime(after[0]),
        after[1],
        limit,
    )
    return [Due(from_datetime(row["notice_due_at"]), row["voucher_no"], row["voucher_id"]) for row in rows]


async def members_untold(conn: Connection, year: int, after_no: int, to_no: int) -> list[Account]:
    """The accounts numbered above `after_no` and up to `to_no` that were not told of points lost at the turn to `year`.

    Nameless ones are told nothing.
    """
    rows = await conn.fetch(
        f"""{ACCOUNT} WHERE account_no > $2 AND account_no <= $3 AND expiring_told_year < $1 AND member_id IS NOT NULL
        ORDER BY account_no""",
        year,
        after_no,
        to_no,
    )
    return [account_of(row) for row in rows]


async def read_untold(conn: Connection, year: int, account_nos: Collection[int]) -> list[Account]:
    """Those of some accounts, which are locked, that are still to be told."""
    rows = await conn.fetch(
        f"{ACCOUNT} WHERE account_no = ANY($2) AND expiring_told_year < $1 AND member_id IS NOT NULL",
        year,
        list(account_nos),
    )
    return [account_of(row) for row in rows]


async def note_told(conn: Connection, year: int, account_nos: Collection[int]) -> None:
    """Remember that they were told."""
    await conn.execute("UPDATE account SET expiring_told_year = $1 WHERE account_no = ANY($2)", year, list(account_nos))
