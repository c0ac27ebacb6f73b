"""What lists read: members some thousand at a time, by member_id as bytes sort."""

from collections.abc import Collection
from datetime import date
from typing import NamedTuple

import asyncpg
from eventing.database import Connection
from programme.calendar import day_of

from customer_status.segments.domain import Bounds
from customer_status.segments.statements import BOUGHT, LEVEL


class Examined(NamedTuple):
    """A member, known by the end of the day or not."""

    account_no: int
    member_id: str
    is_known: bool
    level: str
    abc: str | None
    contact_person: str | None


_MEMBERS = f"""
    SELECT member.account_no, member_id,
        joined_at < $3
            OR EXISTS (SELECT FROM purchase WHERE account_no = member.account_no AND civil_date <= $4)
            OR EXISTS (SELECT FROM purchase_return WHERE account_no = member.account_no AND civil_date <= $4)
            AS is_known,
        {LEVEL.format(end="$5::jsonb")} AS level, abc, contact_person.name AS contact_person
    FROM (SELECT * FROM member WHERE member_id > $1 ORDER BY member_id LIMIT $2) AS member
    LEFT JOIN segment_snapshot_member AS ranked
        ON ranked.snapshot_date = $6 AND ranked.account_no = member.account_no
    LEFT JOIN contact_person ON contact_person.account_no = member.account_no
    ORDER BY member_id"""
_DAYS = f"""
    SELECT account_no, array_agg(DISTINCT civil_date ORDER BY civil_date) AS dates
    FROM ({BOUGHT.format(on="$2", which="AND account_no = ANY ($1::bigint[])")}) AS bought
    WHERE remaining_cents > 0 GROUP BY account_no"""


async def members_after(
    conn: Connection, member_id: str, limit: int, bounds: Bounds, snapshot: date | None
) -> list[Examined]:
    """The next members, with their level at the end of the day and the class they have in the snapshot."""
    rows: list[asyncpg.Record] = await conn.fetch(
        _MEMBERS, member_id, limit, bounds.end, bounds.on, bounds.timeline_end, snapshot
    )
    # Neither joined nor named in an event so far: null.
    return [Examined(row[0], row[1], row[2] is True, *row[3:]) for row in rows]


async def purchase_days(conn: Connection, account_nos: Collection[int], bounds: Bounds) -> dict[int, list[int]]:
    """The purchase days of accounts as of the end of a day, ascending; those without any are left out."""
    rows = await conn.fetch(_DAYS, list(account_nos), bounds.on)
    return {row["account_no"]: [day_of(each) for each in row["dates"]] for row in rows}
