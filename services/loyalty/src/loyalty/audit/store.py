"""All SQL of `state` and `verify`: read only, one snapshot, accounts by the hundred."""

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

import asyncpg
from eventing.database import LONG_STATEMENT_S

from loyalty.points.domain import Account, KnownReturn, Position
from loyalty.points.store import ACCOUNT, POSITION, RETURN, account_of, position_of, return_of
from loyalty.vouchers.domain import Voucher
from loyalty.vouchers.store import VOUCHER, voucher_of

_ACCOUNTS_AT_ONCE = 500
_OF_ACCOUNTS = ("purchase_position", "purchase_return", "ledger_entry", "voucher")


class AccountHistory(NamedTuple):
    """One account and all that is known of it."""

    account: Account
    positions: list[Position]
    returns: list[KnownReturn]
    vouchers: list[Voucher]


class EntrySum(NamedTuple):
    """Entries of one account added up: those of one purchase, or (purchase_id None) those of one kind."""

    account_no: int
    kind: str
    purchase_id: str | None
    points: int
    entries: int
    last_entry_no: int


async def histories(conn: asyncpg.Connection) -> AsyncIterator[list[AccountHistory]]:
    """All accounts, by `member_id` as bytes sort and nameless ones last, in lists of some hundred.

    Call it inside a REPEATABLE READ transaction, so that all lists tell of the same moment.
    """
    accounts = await conn.cursor(f'{ACCOUNT} ORDER BY member_id COLLATE "C" NULLS LAST, account_no')
    while rows := await accounts.fetch(_ACCOUNTS_AT_ONCE):
        numbers = [row["account_no"] for row in rows]
        found = {row["account_no"]: AccountHistory(account_of(row), [], [], []) for row in rows}
        for row in await conn.fetch(f"{POSITION} WHERE p.account_no = ANY($1)", numbers):
            found[row["account_no"]].positions.append(position_of(row))
        for row in await conn.fetch(f"{RETURN} WHERE r.account_no = ANY($1)", numbers):
            found[row["account_no"]].returns.append(return_of(row))
        for row in await conn.fetch(f"{VOUCHER} WHERE v.account_no = ANY($1)", numbers):
            found[row["account_no"]].vouchers.append(voucher_of(row))
        yield list(found.values())


async def entry_sums(conn: asyncpg.Connection, account_nos: Sequence[int]) -> list[EntrySum]:
    """The ledger of some accounts, added up by kind and purchase."""
    rows = await conn.fetch(
        """
        SELECT account_no, CASE WHEN purchase_id IS NULL THEN kind ELSE 'purchase' END AS kind, purchase_id,
               sum(points)::bigint AS points, count(*) AS entries, max(entry_no) AS last_entry_no
        FROM ledger_entry WHERE account_no = ANY($1) GROUP BY 1, 2, 3
        """,
        account_nos,
    )
    return [EntrySum(*row) for row in rows]


async def rows_of_no_account(conn: asyncpg.Connection) -> dict[str, int]:
    """How many rows of each table belong to nothing: what foreign keys would keep out."""
    found: dict[str, int] = {}
    for table in _OF_ACCOUNTS:
        found[table] = await conn.fetchval(
            f"""SELECT count(*) FROM {table} t
                WHERE NOT EXISTS (SELECT FROM account a WHERE a.account_no = t.account_no)""",
            timeout=LONG_STATEMENT_S,
        )
    found["voucher_redemption"] = await conn.fetchval(
        """SELECT count(*) FROM voucher_redemption r
           WHERE NOT EXISTS (SELECT FROM voucher v WHERE v.voucher_no = r.voucher_no)""",
        timeout=LONG_STATEMENT_S,
    )
    return found


async def purchases_under_two_members(conn: asyncpg.Connection) -> list[str]:
    """The purchase_ids that more than one account has (rules 3.7: both count, and it is reported)."""
    rows = await conn.fetch(
        "SELECT purchase_id FROM purchase_position GROUP BY 1 HAVING count(*) > 1 ORDER BY 1", timeout=LONG_STATEMENT_S
    )
    return [row["purchase_id"] for row in rows]
