"""The SQL of erasing that belongs to no other feature."""

from collections.abc import Collection

from eventing.database import Connection


async def forget_answers(conn: Connection, member_ids: Collection[str]) -> None:
    """Delete the remembered answers about members (webapi.idempotency, which the worker does not load)."""
    await conn.execute("DELETE FROM idempotency_key WHERE about = ANY ($1::text[])", list(member_ids))
