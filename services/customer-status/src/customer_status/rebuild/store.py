"""All SQL of `republish` and `rebuild`."""

from collections.abc import Collection

import asyncpg
import msgspec
from eventing.database import Connection
from programme.instants import to_datetime
from programme.levels import LevelState, encode
from programme.timeline import BASIS, Timeline, steps_to_json

from customer_status.tiers.purchase_days import PurchaseDays


async def published_after(conn: asyncpg.Connection, member_id: str, limit: int) -> list[str]:
    """The next members, as bytes sort, whose timeline was published at least once."""
    rows = await conn.fetch(
        """
        SELECT member_id FROM member WHERE member_id > $1 AND timeline IS NOT NULL
        ORDER BY member_id LIMIT $2""",
        member_id,
        limit,
    )
    return [row["member_id"] for row in rows]


async def is_known(conn: asyncpg.Connection, member_id: str, *, published: bool) -> bool:
    """Whether there is such a member, if `published` one of whom a timeline was ever published."""
    found: bool = await conn.fetchval(
        "SELECT EXISTS (SELECT FROM member WHERE member_id = $1 AND (timeline IS NOT NULL OR NOT $2))",
        member_id,
        published,
    )
    return found


async def members_after(conn: Connection, member_id: str, limit: int) -> list[str]:
    """The next members, as bytes sort."""
    rows = await conn.fetch(
        "SELECT member_id FROM member WHERE member_id > $1 ORDER BY member_id LIMIT $2", member_id, limit
    )
    return [row["member_id"] for row in rows]


async def fingerprints(conn: Connection, member_ids: Collection[str]) -> dict[str, tuple[int, int, int]]:
    """A number a table, of all rows of each member: equal rows make equal numbers, whatever the account's number is.

    Computed by the server, where it costs a tenth of reading the rows.
    """
    rows = await conn.fetch(
        """
        SELECT member_id,
            hashtextextended(ROW (joined_at, events, waiting_returns, state, coalesce(timeline, $2),
                                 first_event_day, last_purchase_day, last_return_day, purchase_days,
                                 kept_cents, purchase_months)::text, 0)
                AS member,
            (SELECT bit_xor(hashtextextended(ROW (purchase_id, occurred_at, received_at, cents_by_class, vouchers,
                                                  eligible_cents, returned_cents, returned_completely,
                                                  civil_date, total_cents, returned_total_cents)::text, 0))
             FROM purchase WHERE purchase.account_no = member.account_no) AS purchases,
            (SELECT bit_xor(hashtextextended(ROW (return_id, purchase_id, occurred_at, received_at, cents_by_class,
                                                  complete, civil_date, total_cents)::text, 0))
             FROM purchase_return WHERE purchase_return.account_no = member.account_no) AS returns
        FROM member WHERE member_id = ANY ($1::text[])""",
        list(member_ids),
        _steps(BASIS),
    )
    return {row["member_id"]: (row["member"], row["purchases"], row["returns"]) for row in rows}


async def delete_rows(conn: Connection, account_no: int) -> None:
    """Delete a member's purchases and returns, as the owner of the tables."""
    await conn.execute("DELETE FROM purchase WHERE account_no = $1", account_no)
    await conn.execute("DELETE FROM purchase_return WHERE account_no = $1", account_no)


async def replace_member(
    conn: Connection,
    account_no: int,
    *,
    events: int,
    waiting_returns: int,
    levels: LevelState,
    purchase_days: PurchaseDays,
    joined_us: int | None,
) -> None:
    """Write what follows from a member's events."""
    await conn.execute(
        """
        UPDATE member SET events = $2, waiting_returns = $3, state = $4, joined_at = $5, first_event_day = $6,
            last_purchase_day = $7, last_return_day = $8, purchase_days = $9, kept_cents = $10, purchase_months = $11
        WHERE account_no = $1""",
        account_no,
        events,
        waiting_returns,
        encode(levels),
        None if joined_us is None else to_datetime(joined_us),
        purchase_days.first_event_day,
        purchase_days.last_purchase_day,
        purchase_days.last_return_day,
        purchase_days.days,
        purchase_days.kept_cents,
        purchase_days.months(),
    )


async def replace_timeline(conn: Connection, account_no: int, generation: int, timeline: Timeline) -> None:
    """Write the timeline that is published with this generation."""
    await conn.execute(
        "UPDATE member SET generation = $2, timeline = $3 WHERE account_no = $1",
        account_no,
        generation,
        _steps(timeline),
    )


def _steps(timeline: Timeline) -> str:
    return msgspec.json.encode(steps_to_json(timeline)).decode()
