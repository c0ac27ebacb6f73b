"""All SQL of `rebuild` that is not posting's own."""

from collections.abc import Collection
from typing import NamedTuple

from loyalty.points.store import Connection


class Fingerprint(NamedTuple):
    """A number a table, of all rows of an account: equal rows make equal numbers, whatever the account's number is."""

    account: int
    positions: int | None
    returns: int | None
    points: int | None
    is_consistent: bool


async def members_after(conn: Connection, member_id: str, limit: int) -> list[str]:
    """The next members, as bytes sort."""
    rows = await conn.fetch(
        "SELECT member_id FROM account WHERE member_id > $1 ORDER BY member_id LIMIT $2", member_id, limit
    )
    return [row["member_id"] for row in rows]


async def fingerprints(conn: Connection, member_ids: Collection[str]) -> dict[str, Fingerprint]:
    """Computed by the server, where it costs a tenth of reading the rows.

    Entries count by their sum a purchase, because their number depends on the order of arrival. `is_consistent` says
    that they add up to the balance and are numbered without a gap.
    """
    rows = await conn.fetch(
        """
        SELECT member_id,
            hashtextextended(ROW (waiting_returns, last_purchase_at, timeline, timeline_generation, timeline_events,
                                  balance_points, expired_points, expiry_year, points_by_year)::text, 0) AS account,
            (SELECT bit_xor(hashtextextended(ROW (purchase_id, occurred_at, received_at, cents_by_class, vouchers,
                 eligible_cents, returned_cents, returned_completely, bonus_percent, posted_points)::text, 0))
             FROM purchase_position p WHERE p.account_no = a.account_no) AS positions,
            (SELECT bit_xor(hashtextextended(ROW (return_id, purchase_id, occurred_at, received_at, cents_by_class,
                 complete)::text, 0))
             FROM purchase_return r WHERE r.account_no = a.account_no) AS returns,
            entries.points,
            entries.total = balance_points AND entries.number = last_entry_no AND entries.last = last_entry_no
                AS is_consistent
        FROM account a CROSS JOIN LATERAL (
            SELECT bit_xor(hashtextextended(ROW (purchase_id, of_purchase)::text, 0))
                     FILTER (WHERE purchase_id IS NOT NULL AND of_purchase <> 0) AS points,
                   coalesce(sum(of_purchase), 0) AS total, coalesce(sum(number), 0) AS number,
                   coalesce(max(last), 0) AS last
            FROM (SELECT CASE WHEN kind <> 'voucher' THEN purchase_id END AS purchase_id, sum(points) AS of_purchase,
                         count(*) AS number, max(entry_no) AS last
                  FROM ledger_entry e WHERE e.account_no = a.account_no GROUP BY 1) AS purchases
        ) AS entries
        WHERE member_id = ANY($1::text[])
        """,
        list(member_ids),
    )
    return {row["member_id"]: Fingerprint(*list(row.values())[1:]) for row in rows}


async def points_of_rewards(conn: Connection, account_nos: Collection[int]) -> dict[int, dict[str, int]]:
    """What was debited to each of these accounts for each voucher and product order, by the ledger."""
    rows = await conn.fetch(
        """
        SELECT account_no, cause_id, -sum(points)::bigint AS points FROM ledger_entry
        WHERE account_no = ANY($1)
          AND (kind IN ('reward', 'voucher', 'product') OR (kind = 'rebuild' AND purchase_id IS NULL))
          AND cause_id NOT LIKE 'adjustment %'
        GROUP BY 1, 2
        """,
        list(account_nos),
    )
    found: dict[int, dict[str, int]] = {account_no: {} for account_no in account_nos}
    for row in rows:
        found[row["account_no"]][row["cause_id"]] = row["points"]
    return found


async def points_of_adjustments(conn: Connection, account_nos: Collection[int]) -> dict[int, dict[int, int]]:
    """What each of these accounts got by each adjustment, by the ledger."""
    rows = await conn.fetch(
        """
        SELECT account_no, replace(cause_id, 'adjustment ', '')::bigint AS adjustment_id, sum(points)::bigint AS points
        FROM ledger_entry
        WHERE account_no = ANY($1) AND (kind = 'adjustment' OR (kind = 'rebuild' AND cause_id LIKE 'adjustment %'))
        GROUP BY 1, 2
        """,
        list(account_nos),
    )
    found: dict[int, dict[int, int]] = {account_no: {} for account_no in account_nos}
    for row in rows:
        found[row["account_no"]][row["adjustment_id"]] = row["points"]
    return found


async def delete_rows(conn: Connection, account_no: int) -> None:
    """Delete an account's positions and returns, as the owner of the tables."""
    await conn.execute("DELETE FROM purchase_position WHERE account_no = $1", account_no)
    await conn.execute("DELETE FROM purchase_return WHERE account_no = $1", account_no)


async def timeline_versions(conn: Connection, member_id: str, limit: int) -> list[tuple[str, tuple[int, int]]]:
    """The next members, as bytes sort, with the version of the timeline they have; (0, 0) is none."""
    rows = await conn.fetch(
        """
        SELECT member_id, timeline_generation, timeline_events FROM account
        WHERE member_id > $1 ORDER BY member_id LIMIT $2
        """,
        member_id,
        limit,
    )
    return [(row["member_id"], (row["timeline_generation"], row["timeline_events"])) for row in rows]
