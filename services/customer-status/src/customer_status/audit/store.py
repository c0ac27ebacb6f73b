"""All SQL of `state` and `verify`: read only, members by the hundred."""

from collections.abc import AsyncIterator, Collection, Sequence
from typing import NamedTuple

import asyncpg
from eventing.database import LONG_STATEMENT_S, Connection
from programme.instants import from_datetime
from programme.levels import LevelState
from programme.timeline import Timeline

from customer_status.tiers.domain import PurchaseRow, ReturnRow
from customer_status.tiers.purchase_days import PurchaseDays
from customer_status.tiers.rows import MEMBER_COLUMNS, days_from_row, levels_from_row, timeline_from_row
from customer_status.tiers.store import read_purchases, read_returns

_MEMBERS_AT_ONCE = 200
_SELECT = f"SELECT {', '.join(MEMBER_COLUMNS)}, purchase_months FROM member"


class History(NamedTuple):
    """A member's row and all that is known of their purchases; `member_id` is None once erased."""

    account_no: int
    member_id: str | None
    joined_us: int | None
    events: int
    waiting_returns: int
    generation: int
    levels: LevelState
    published: Timeline
    purchases: list[PurchaseRow]
    returns: list[ReturnRow]
    purchase_days: PurchaseDays
    purchase_months: list[int]


async def histories(conn: Connection) -> AsyncIterator[list[History]]:
    """All members, by `member_id` as bytes sort and erased ones last, in lists of some hundred.

    Call it inside a REPEATABLE READ transaction, so that all lists tell of the same moment.
    """
    cursor = await conn.cursor(f"{_SELECT} ORDER BY member_id NULLS LAST, account_no")
    while members := await cursor.fetch(_MEMBERS_AT_ONCE):
        yield await _with_rows(conn, members)


async def histories_of(conn: Connection, member_ids: Collection[str]) -> dict[str, History]:
    """Those of these members that are known."""
    rows = await conn.fetch(f"{_SELECT} WHERE member_id = ANY ($1::text[])", list(member_ids))
    return {history.member_id or "": history for history in await _with_rows(conn, rows)}


async def histories_from(conn: Connection, first_account_no: int, limit: int) -> list[History]:
    """At most `limit` members, by number from `first_account_no` on; in one transaction like `histories`."""
    rows = await conn.fetch(f"{_SELECT} WHERE account_no >= $1 ORDER BY account_no LIMIT $2", first_account_no, limit)
    return await _with_rows(conn, rows)


async def highest_account_no(conn: Connection) -> int:
    """The highest number given to a member so far, 0 if there is none."""
    highest: int = await conn.fetchval("SELECT coalesce(max(account_no), 0) FROM member")
    return highest


async def _with_rows(conn: Connection, rows: Sequence[asyncpg.Record]) -> list[History]:
    names = {row["account_no"]: row["member_id"] for row in rows}
    purchases = await read_purchases(conn, names)
    returns = await read_returns(conn, names)
    return [_history(row, purchases[row["account_no"]], returns[row["account_no"]]) for row in rows]


async def purchases_under_two_members(conn: Connection) -> list[str]:
    """The purchase_ids that more than one member has (rules 3.7: each counts, and it is reported)."""
    rows = await conn.fetch(
        "SELECT purchase_id FROM purchase GROUP BY 1 HAVING count(*) > 1 ORDER BY 1", timeout=LONG_STATEMENT_S
    )
    return [row["purchase_id"] for row in rows]


async def rows_of_no_member(conn: Connection) -> list[str]:
    """Purchases and returns whose account does not exist: what a foreign key would have refused."""
    rows = await conn.fetch(
        """
        SELECT format('purchase %s of account %s', purchase_id, account_no) AS text FROM purchase
        WHERE NOT EXISTS (SELECT FROM member WHERE member.account_no = purchase.account_no)
        UNION ALL
        SELECT format('return %s of account %s', return_id, account_no) FROM purchase_return
        WHERE NOT EXISTS (SELECT FROM member WHERE member.account_no = purchase_return.account_no)
        ORDER BY text""",
        timeout=LONG_STATEMENT_S,
    )
    return [row["text"] for row in rows]


async def old_outbox_rows(conn: Connection, older_than_s: int) -> list[str]:
    """The outbox rows the relay should have published by now."""
    rows = await conn.fetch(
        """
        SELECT format('outbox row %s of %s', outbox_id, created_at) AS text FROM outbox
        WHERE created_at < now() - make_interval(secs => $1) ORDER BY outbox_id""",
        older_than_s,
    )
    return [row["text"] for row in rows]


def _history(row: asyncpg.Record, purchases: list[PurchaseRow], returns: list[ReturnRow]) -> History:
    return History(
        account_no=row["account_no"],
        member_id=row["member_id"],
        joined_us=None if row["joined_at"] is None else from_datetime(row["joined_at"]),
        events=row["events"],
        waiting_returns=row["waiting_returns"],
        generation=row["generation"],
        levels=levels_from_row(row),
        published=timeline_from_row(row),
        purchases=purchases,
        returns=returns,
        purchase_days=days_from_row(row),
        purchase_months=row["purchase_months"],
    )
