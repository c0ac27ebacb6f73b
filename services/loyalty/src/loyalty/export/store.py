"""The SQL of an export that no other feature has."""

from loyalty.points.store import Connection


async def rows_of(conn: Connection, account_no: int) -> int:
    """How many entries, purchases and returns an account has."""
    count: int = await conn.fetchval(
        """
        SELECT (SELECT last_entry_no FROM account WHERE account_no = $1)
             + (SELECT count(*) FROM purchase_position WHERE account_no = $1)
             + (SELECT count(*) FROM purchase_return WHERE account_no = $1)
        """,
        account_no,
    )
    return count
