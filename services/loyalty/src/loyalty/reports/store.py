"""The SQL of reports: accounts by number, some hundred at a time, so that memory stays bounded."""

from loyalty.points.account import Account
from loyalty.points.rows import account_of
from loyalty.points.store import ACCOUNT, Connection


async def accounts_after(conn: Connection, account_no: int, limit: int) -> list[Account]:
    """The next accounts by number, nameless ones too."""
    rows = await conn.fetch(f"{ACCOUNT} WHERE account_no > $1 ORDER BY account_no LIMIT $2", account_no, limit)
    return [account_of(row) for row in rows]


async def entry_sums_between(conn: Connection, after_no: int, to_no: int | None) -> dict[int, int]:
    """What the entries of each account add up to, numbers above `after_no` and up to `to_no` (None: all)."""
    rows = await conn.fetch(
        """
        SELECT account_no, sum(points)::bigint AS points FROM ledger_entry
        WHERE account_no > $1 AND ($2::bigint IS NULL OR account_no <= $2) GROUP BY 1
        """,
        after_no,
        to_no,
    )
    return {row["account_no"]: row["points"] for row in rows}
