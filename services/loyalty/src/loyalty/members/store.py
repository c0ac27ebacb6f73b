"""The SQL of what members see: their ledger."""

from datetime import datetime
from typing import NamedTuple

from loyalty.points.store import Connection


class LedgerLine(NamedTuple):
    """One entry as it is stored."""

    entry_no: int
    posted_at: datetime
    kind: str
    points: int
    purchase_id: str | None
    cause_id: str | None


async def entries_before(
    conn: Connection, account_no: int, before_entry_no: int | None, limit: int
) -> list[LedgerLine]:
    """At most `limit` entries of an account, newest first, those with a smaller number than `before_entry_no`."""
    rows = await conn.fetch(
        """
        SELECT entry_no, posted_at, kind, points, purchase_id, cause_id FROM ledger_entry
        WHERE account_no = $1 AND ($2::bigint IS NULL OR entry_no < $2) ORDER BY entry_no DESC LIMIT $3
        """,
        account_no,
        before_entry_no,
        limit,
    )
    return [LedgerLine(*row) for row in rows]
