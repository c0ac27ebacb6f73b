"""Contact persons of key accounts."""

from collections.abc import Collection
from datetime import date, datetime

from eventing.database import Connection

from customer_status.status.store import ContactPerson


async def abc_of(conn: Connection, account_no: int, not_after: date) -> str | None:
    """The class of an account in the newest snapshot of that day or before; None without one, or without revenue."""
    found: str | None = await conn.fetchval(
        """
        SELECT abc FROM segment_snapshot_member
        WHERE account_no = $1
          AND snapshot_date = (SELECT max(snapshot_date) FROM segment_snapshot WHERE snapshot_date <= $2)""",
        account_no,
        not_after,
    )
    return found


async def assign(conn: Connection, account_no: int, person: ContactPerson, assigned_by: str) -> datetime:
    """Put a person in the place of the one before; returns since when. The same person stays since then."""
    at: datetime = await conn.fetchval(
        """
        INSERT INTO contact_person AS kept (account_no, name, email, assigned_by, assigned_at)
        VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (account_no) DO UPDATE SET
            name = excluded.name, email = excluded.email, assigned_by = excluded.assigned_by,
            assigned_at = CASE WHEN kept.name = excluded.name THEN kept.assigned_at ELSE excluded.assigned_at END
        RETURNING assigned_at""",
        account_no,
        person.name,
        person.email,
        assigned_by,
        person.assigned_at,
    )
    return at


async def forget(conn: Connection, account_nos: Collection[int]) -> None:
    """Nobody looks after these accounts any more."""
    await conn.execute("DELETE FROM contact_person WHERE account_no = ANY ($1::bigint[])", list(account_nos))
