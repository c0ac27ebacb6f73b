"""The SQL of erasing a member: one link is cut, the account's rows stay (docs/decisions/0003)."""

from loyalty.points.store import Connection


async def cut_link(conn: Connection, account_no: int) -> None:
    """Make an account nameless; its lock is held."""
    await conn.execute("UPDATE account SET member_id = NULL, joined_at = NULL WHERE account_no = $1", account_no)
