"""The SQL of what members see: their ledger, and what it speaks of. One account at a time."""

from collections.abc import Collection

from programme.instants import from_datetime

from loyalty.members.domain import LedgerLine, Moment, Moments
from loyalty.points.domain import KnownReturn
from loyalty.points.rows import return_of
from loyalty.points.store import RETURN, Connection

_ENTRY = "SELECT entry_no, posted_at, kind, points, purchase_id, cause_id, level FROM ledger_entry"
ENTRIES_OF_PURCHASE = f"{_ENTRY} WHERE account_no = $1 AND purchase_id = $2 ORDER BY entry_no DESC LIMIT $3"


async def entries_before(
    conn: Connection, account_no: int, before_entry_no: int | None, limit: int
) -> list[LedgerLine]:
    """At most `limit` entries of an account, newest first, those with a smaller number than `before_entry_no`."""
    rows = await conn.fetch(
        f"""{_ENTRY} WHERE account_no = $1 AND ($2::bigint IS NULL OR entry_no < $2)
        ORDER BY entry_no DESC LIMIT $3""",
        account_no,
        before_entry_no,
        limit,
    )
    return [LedgerLine(*row) for row in rows]


async def entries_of_purchase(conn: Connection, account_no: int, purchase_id: str, limit: int) -> list[LedgerLine]:
    """At most `limit` entries that name a purchase, newest first.

    Reads the entries of the account and leaves out the others: an index by purchase would be kept up for every entry
    there is, and an account has few.
    """
    rows = await conn.fetch(ENTRIES_OF_PURCHASE, account_no, purchase_id, limit)
    return [LedgerLine(*row) for row in rows]


async def returns_of_purchase(conn: Connection, account_no: int, purchase_id: str, limit: int) -> list[KnownReturn]:
    """At most `limit` returns of a purchase, by their instants."""
    rows = await conn.fetch(
        f"""{RETURN} WHERE r.account_no = $1 AND r.purchase_id = $2
        ORDER BY r.occurred_at, r.return_id LIMIT $3""",
        account_no,
        purchase_id,
        limit,
    )
    return [return_of(row) for row in rows]


async def read_moments(
    conn: Connection, account_no: int, purchase_ids: Collection[str], return_ids: Collection[str]
) -> Moments:
    """When the known ones of these purchases and returns happened and were received."""
    return Moments(
        await _moments(conn, "purchase_position", "purchase_id", account_no, purchase_ids),
        await _moments(conn, "purchase_return", "return_id", account_no, return_ids),
    )


async def _moments(conn: Connection, table: str, key: str, account_no: int, ids: Collection[str]) -> dict[str, Moment]:
    if not ids:
        return {}
    rows = await conn.fetch(
        f"SELECT {key}, occurred_at, received_at FROM {table} WHERE account_no = $1 AND {key} = ANY($2::text[])",
        account_no,
        list(ids),
    )
    return {row[key]: Moment(from_datetime(row["occurred_at"]), from_datetime(row["received_at"])) for row in rows}
