"""All SQL of adjustments. Whoever adds or decides one holds its account's lock."""

from collections.abc import Collection, Mapping
from typing import NamedTuple

import asyncpg
from programme.instants import from_datetime, to_datetime

from loyalty.adjustments.domain import Adjustment, Person
from loyalty.points.store import Connection

_ADJUSTMENT = """
    SELECT d.adjustment_id, d.account_no, d.points, d.reason, d.text, d.requested_by_client, d.requested_by_subject,
           d.requested_at, d.state, d.decided_by_client, d.decided_by_subject, d.decided_at
    FROM adjustment d
"""


class Waiting(NamedTuple):
    """An adjustment that waits for a second person, and whose it is."""

    member_id: str
    adjustment: Adjustment


async def add_adjustment(conn: Connection, adjustment: Adjustment) -> None:
    """Store a new one; gives it its `adjustment_id`."""
    adjustment.adjustment_id = await conn.fetchval(
        """
        INSERT INTO adjustment (account_no, points, reason, text, requested_by_client, requested_by_subject,
                                requested_at, state)
        VALUES ($1, $2, $3, $4, $5, $6, $7, 'pending') RETURNING adjustment_id
        """,
        adjustment.account_no,
        adjustment.points,
        adjustment.reason,
        adjustment.text,
        *adjustment.requested_by,
        to_datetime(adjustment.requested_us),
    )


async def write_decision(conn: Connection, adjustment: Adjustment) -> None:
    """Write whether and when it was posted or rejected, and by whom."""
    assert adjustment.decided_us is not None
    await conn.execute(
        """
        UPDATE adjustment SET state = $2, decided_at = $3, decided_by_client = $4, decided_by_subject = $5
        WHERE adjustment_id = $1
        """,
        adjustment.adjustment_id,
        adjustment.state,
        to_datetime(adjustment.decided_us),
        *(adjustment.decided_by or (None, None)),
    )


async def find_adjustment(conn: Connection, adjustment_id: int) -> Adjustment | None:
    """One adjustment; None if there is none. Read it again after its account is locked to change it."""
    row = await conn.fetchrow(f"{_ADJUSTMENT} WHERE adjustment_id = $1", adjustment_id)
    return None if row is None else _adjustment_of(row)


async def adjustments_of(conn: Connection, account_nos: Collection[int]) -> list[Adjustment]:
    """All adjustments of some accounts, oldest first."""
    rows = await conn.fetch(f"{_ADJUSTMENT} WHERE account_no = ANY($1) ORDER BY adjustment_id", list(account_nos))
    return [_adjustment_of(row) for row in rows]


async def pending_after(conn: Connection, adjustment_id: int, limit: int) -> list[Waiting]:
    """The next ones that wait for a second person, oldest first."""
    rows = await conn.fetch(
        f"""
        SELECT a.member_id, d.* FROM ({_ADJUSTMENT} WHERE state = 'pending' AND adjustment_id > $1) AS d
        JOIN account a USING (account_no) WHERE a.member_id IS NOT NULL ORDER BY adjustment_id LIMIT $2
        """,
        adjustment_id,
        limit,
    )
    return [Waiting(row["member_id"], _adjustment_of(row)) for row in rows]


async def reasons_of(conn: Connection, adjustment_ids: Collection[int]) -> Mapping[str, str]:
    """The reason codes of some adjustments, by id as entries name it."""
    if not adjustment_ids:
        return {}
    rows = await conn.fetch(
        "SELECT adjustment_id, reason FROM adjustment WHERE adjustment_id = ANY($1::bigint[])", list(adjustment_ids)
    )
    return {str(row["adjustment_id"]): row["reason"] for row in rows}


async def forget_adjustments(conn: Connection, account_no: int, now_us: int) -> None:
    """Of an erased member: no text stays, and what still waits is rejected."""
    await conn.execute("UPDATE adjustment SET text = NULL WHERE account_no = $1", account_no)
    await conn.execute(
        "UPDATE adjustment SET state = 'rejected', decided_at = $2 WHERE account_no = $1 AND state = 'pending'",
        account_no,
        to_datetime(now_us),
    )


def _adjustment_of(row: asyncpg.Record) -> Adjustment:
    decider = row["decided_by_client"]
    return Adjustment(
        adjustment_id=row["adjustment_id"],
        account_no=row["account_no"],
        points=row["points"],
        reason=row["reason"],
        text=row["text"],
        requested_by=Person(row["requested_by_client"], row["requested_by_subject"]),
        requested_us=from_datetime(row["requested_at"]),
        state=row["state"],
        decided_by=None if decider is None else Person(decider, row["decided_by_subject"]),
        decided_us=None if row["decided_at"] is None else from_datetime(row["decided_at"]),
    )
