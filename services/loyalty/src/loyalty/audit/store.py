"""All SQL of `state` and `verify`: read only, one snapshot, accounts by the hundred."""

from collections.abc import AsyncIterator, Collection, Sequence
from typing import NamedTuple

import asyncpg
from eventing.database import LONG_STATEMENT_S

from loyalty.adjustments.domain import Adjustment
from loyalty.adjustments.store import adjustments_of
from loyalty.points.account import Account
from loyalty.points.domain import KnownReturn, Position
from loyalty.points.rows import account_of, position_of, return_of
from loyalty.points.store import ACCOUNT, POSITION, RETURN, Connection
from loyalty.rewards.domain import ProductOrder
from loyalty.rewards.store import products_of
from loyalty.vouchers.domain import Voucher
from loyalty.vouchers.store import vouchers_of

_ACCOUNTS_AT_ONCE = 500
_OF_ACCOUNTS = ("purchase_position", "purchase_return", "ledger_entry", "voucher", "product_order", "adjustment")
_OF_VOUCHERS = ("voucher_redemption", "voucher_undone", "voucher_reservation")


class AccountHistory(NamedTuple):
    """One account and all that is known of it."""

    account: Account
    positions: list[Position]
    returns: list[KnownReturn]
    vouchers: list[Voucher]
    adjustments: list[Adjustment]
    products: list[ProductOrder]


class EntrySum(NamedTuple):
    """Entries of one account added up: those of the points of one purchase, or (purchase_id None) those of a kind."""

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
        yield await _with_rows(conn, rows)


async def histories_from(conn: Connection, first_account_no: int, limit: int) -> list[AccountHistory]:
    """At most `limit` accounts, by number from `first_account_no` on; in one transaction like `histories`."""
    rows = await conn.fetch(f"{ACCOUNT} WHERE account_no >= $1 ORDER BY account_no LIMIT $2", first_account_no, limit)
    return await _with_rows(conn, rows)


async def histories_of(conn: Connection, member_ids: Collection[str]) -> list[AccountHistory]:
    """The accounts of some members; of those who have one."""
    return await _with_rows(conn, await conn.fetch(f"{ACCOUNT} WHERE member_id = ANY($1::text[])", list(member_ids)))


async def history_of(conn: Connection, member_id: str) -> AccountHistory | None:
    """One member's account; None if there is none."""
    found = await histories_of(conn, [member_id])
    return found[0] if found else None


async def _with_rows(conn: Connection, rows: Sequence[asyncpg.Record]) -> list[AccountHistory]:
    numbers = [row["account_no"] for row in rows]
    found = {row["account_no"]: AccountHistory(account_of(row), [], [], [], [], []) for row in rows}
    for row in await conn.fetch(f"{POSITION} WHERE p.account_no = ANY($1)", numbers):
        found[row["account_no"]].positions.append(position_of(row))
    for row in await conn.fetch(f"{RETURN} WHERE r.account_no = ANY($1)", numbers):
        found[row["account_no"]].returns.append(return_of(row))
    for voucher in await vouchers_of(conn, numbers):
        found[voucher.account_no].vouchers.append(voucher)
    for adjustment in await adjustments_of(conn, numbers):
        found[adjustment.account_no].adjustments.append(adjustment)
    for product in await products_of(conn, numbers):
        found[product.account_no].products.append(product)
    return list(found.values())


async def entry_sums(conn: Connection, account_nos: Sequence[int]) -> list[EntrySum]:
    """The ledger of some accounts, added up by kind and purchase."""
    rows = await conn.fetch(
        """
        SELECT account_no, CASE WHEN of_purchase IS NOT NULL THEN 'purchase'
                    WHEN kind = 'rebuild' AND cause_id LIKE 'adjustment %' THEN 'adjustment' ELSE kind END AS kind,
               of_purchase,
               sum(points)::bigint AS points, count(*) AS entries, max(entry_no) AS last_entry_no
        FROM (SELECT *, CASE WHEN kind <> 'voucher' THEN purchase_id END AS of_purchase
              FROM ledger_entry WHERE account_no = ANY($1)) AS entry
        GROUP BY 1, 2, 3
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
    for table in _OF_VOUCHERS:
        found[table] = await conn.fetchval(
            f"""SELECT count(*) FROM {table} t
                WHERE NOT EXISTS (SELECT FROM voucher v WHERE v.voucher_no = t.voucher_no)""",
            timeout=LONG_STATEMENT_S,
        )
    return found


async def vouchers_nobody_issued(conn: asyncpg.Connection) -> list[tuple[str, str]]:
    """(purchase_id, voucher_id) of purchases that name a voucher there is not."""
    rows = await conn.fetch(
        """
        SELECT purchase_id, named.voucher_id
        FROM (SELECT purchase_id, unnest(vouchers) AS voucher_id FROM purchase_position
              WHERE vouchers <> '{}'::text[]) AS named
        WHERE NOT EXISTS (SELECT FROM voucher v WHERE v.voucher_id = named.voucher_id) ORDER BY 1, 2
        """,
        timeout=LONG_STATEMENT_S,
    )
    return [(row["purchase_id"], row["voucher_id"]) for row in rows]


async def purchases_under_two_members(conn: asyncpg.Connection) -> list[str]:
    """The purchase_ids that more than one account has (rules 3.7: both count, and it is reported)."""
    rows = await conn.fetch(
        "SELECT purchase_id FROM purchase_position GROUP BY 1 HAVING count(*) > 1 ORDER BY 1", timeout=LONG_STATEMENT_S
    )
    return [row["purchase_id"] for row in rows]
