"""All SQL of vouchers."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

import asyncpg
from programme.instants import from_datetime, to_datetime

from loyalty.points.store import Connection
from loyalty.vouchers.domain import Voucher
from loyalty.vouchers.uses import CompleteReturn, Naming, Reservation, Undone

VOUCHER = """
    SELECT v.voucher_no, v.voucher_id, v.key_version, v.account_no, v.reward, v.value_cents, v.points, v.issued_at,
           v.valid_until, v.posted_points, v.cancelled_at, v.notice_due_at, v.expiring_told_for, v.expired_told_for,
           r.purchase_id AS reserved_for, r.reserved_until
    FROM voucher v LEFT JOIN voucher_reservation r USING (voucher_no)
"""


class Owned(NamedTuple):
    """A voucher's id, the account that owns it, which never changes, and a purchase that has redeemed it, if any."""

    voucher_id: str
    account_no: int
    redeemed_for: str | None


def _voucher_of(row: asyncpg.Record) -> Voucher:
    return Voucher(
        voucher_no=row["voucher_no"],
        voucher_id=row["voucher_id"],
        key_version=row["key_version"],
        account_no=row["account_no"],
        reward=row["reward"],
        value_cents=row["value_cents"],
        points=row["points"],
        issued_us=from_datetime(row["issued_at"]),
        valid_until_us=from_datetime(row["valid_until"]),
        posted_points=row["posted_points"],
        cancelled_us=_us(row["cancelled_at"]),
        reservation=None
        if row["reserved_for"] is None
        else Reservation(row["reserved_for"], from_datetime(row["reserved_until"])),
        notice_due_us=_us(row["notice_due_at"]),
        expiring_told_us=_us(row["expiring_told_for"]),
        expired_told_us=_us(row["expired_told_for"]),
    )


def _us(value: datetime | None) -> int | None:
    return None if value is None else from_datetime(value)


def _at(us: int | None) -> datetime | None:
    return None if us is None else to_datetime(us)


async def read_vouchers(conn: Connection, voucher_ids: Iterable[str]) -> dict[str, Voucher]:
    """The vouchers of these ids that exist, with all that is known of their uses.

    To change one, its owner's account is locked before: whoever adds a use holds that lock too.
    """
    rows = await conn.fetch(VOUCHER + "WHERE v.voucher_id = ANY($1::text[])", list(voucher_ids))
    return await _with_uses(conn, rows)


async def vouchers_of(conn: Connection, account_nos: Collection[int]) -> list[Voucher]:
    """All vouchers of some accounts, newest first, with all that is known of their uses."""
    rows = await conn.fetch(VOUCHER + "WHERE v.account_no = ANY($1) ORDER BY v.voucher_no DESC", list(account_nos))
    return list((await _with_uses(conn, rows)).values())


async def vouchers_before(conn: Connection, account_no: int, before_no: int | None, limit: int) -> list[Voucher]:
    """At most `limit` vouchers of an account, newest first, those with a smaller number than `before_no`."""
    rows = await conn.fetch(
        f"""{VOUCHER} WHERE v.account_no = $1 AND ($2::bigint IS NULL OR v.voucher_no < $2)
        ORDER BY v.voucher_no DESC LIMIT $3""",
        account_no,
        before_no,
        limit,
    )
    return list((await _with_uses(conn, rows)).values())


async def _with_uses(conn: Connection, rows: Sequence[asyncpg.Record]) -> dict[str, Voucher]:
    found = {row["voucher_id"]: _voucher_of(row) for row in rows}
    if not found:
        return found
    by_number = {voucher.voucher_no: voucher for voucher in found.values()}
    redemptions = await conn.fetch(
        """
        SELECT voucher_no, purchase_id, redeemed_at, NULL AS undone_at FROM voucher_redemption
        WHERE voucher_no = ANY($1)
        UNION ALL
        SELECT voucher_no, purchase_id, redeemed_at, undone_at FROM voucher_undone WHERE voucher_no = ANY($1)
        """,
        list(by_number),
    )
    for row in redemptions:
        voucher, redeemed_us = by_number[row["voucher_no"]], from_datetime(row["redeemed_at"])
        if row["undone_at"] is None:
            voucher.add_redemption(row["purchase_id"], redeemed_us)
        else:
            voucher.undone.append(Undone(row["purchase_id"], redeemed_us, from_datetime(row["undone_at"])))
    for voucher_id, naming in await read_namings(conn, found.keys()):
        found[voucher_id].add_naming(naming)
    return found


async def read_namings(conn: Connection, voucher_ids: Collection[str]) -> list[tuple[str, Naming]]:
    """The purchases that name some vouchers, also one that there is not, with the voucher_id."""
    rows = await conn.fetch(NAMINGS, list(voucher_ids))
    return [(voucher_id, _naming_of(row)) for row in rows for voucher_id in set(row["vouchers"]) & set(voucher_ids)]


NAMINGS = """
    SELECT p.vouchers, p.account_no, p.purchase_id, p.occurred_at, p.received_at,
           array_agg(r.occurred_at) FILTER (WHERE r.return_id IS NOT NULL) AS returned_at,
           array_agg(r.received_at) FILTER (WHERE r.return_id IS NOT NULL) AS returns_received_at
    FROM purchase_position p
    LEFT JOIN purchase_return r
      ON r.account_no = p.account_no AND r.purchase_id = p.purchase_id AND r.complete
    WHERE p.vouchers && $1::text[] AND p.vouchers <> '{}'::text[]
    GROUP BY p.account_no, p.purchase_id
"""


def _naming_of(row: asyncpg.Record) -> Naming:
    backs = zip(row["returned_at"] or (), row["returns_received_at"] or (), strict=True)
    return Naming(
        account_no=row["account_no"],
        purchase_id=row["purchase_id"],
        occurred_us=from_datetime(row["occurred_at"]),
        received_us=from_datetime(row["received_at"]),
        complete_returns=tuple(CompleteReturn(*map(from_datetime, back)) for back in backs),
    )


async def owners_of(conn: Connection, voucher_ids: Iterable[str]) -> set[int]:
    """The accounts that own these vouchers; an owner never changes."""
    rows = await conn.fetch("SELECT account_no FROM voucher WHERE voucher_id = ANY($1::text[])", list(voucher_ids))
    return {row["account_no"] for row in rows}


async def write_vouchers(conn: Connection, vouchers: Iterable[Voucher]) -> None:
    """Write what the changed ones cost, when they were cancelled, and what was told of their end."""
    changed = [voucher for voucher in vouchers if voucher.changed]
    if changed:
        await conn.execute(
            """
            UPDATE voucher v
            SET posted_points = u.posted_points, cancelled_at = u.cancelled_at, notice_due_at = u.notice_due_at,
                expiring_told_for = u.expiring_told_for, expired_told_for = u.expired_told_for
            FROM unnest($1::bigint[], $2::bigint[], $3::timestamptz[], $4::timestamptz[], $5::timestamptz[],
                        $6::timestamptz[])
                AS u(voucher_no, posted_points, cancelled_at, notice_due_at, expiring_told_for, expired_told_for)
            WHERE v.voucher_no = u.voucher_no
            """,
            [voucher.voucher_no for voucher in changed],
            [voucher.posted_points for voucher in changed],
            [_at(voucher.cancelled_us) for voucher in changed],
            [_at(voucher.notice_due_us) for voucher in changed],
            [_at(voucher.expiring_told_us) for voucher in changed],
            [_at(voucher.expired_told_us) for voucher in changed],
        )


async def draw_voucher_nos(conn: Connection, count: int) -> list[int]:
    """The numbers of the next vouchers; drawn first because the codes are derived from them."""
    rows = await conn.fetch(
        "SELECT nextval(pg_get_serial_sequence('voucher', 'voucher_no')) AS number FROM generate_series(1, $1::int)",
        count,
    )
    return [row["number"] for row in rows]


async def add_vouchers(conn: Connection, vouchers: Sequence[Voucher]) -> None:
    """Store vouchers under the numbers drawn for them."""
    await conn.execute(
        """
        INSERT INTO voucher (voucher_no, voucher_id, key_version, account_no, reward, value_cents, points,
                             issued_at, valid_until, posted_points, notice_due_at)
        OVERRIDING SYSTEM VALUE
        SELECT * FROM unnest($1::bigint[], $2::text[], $3::int[], $4::bigint[], $5::text[], $6::bigint[], $7::bigint[],
                             $8::timestamptz[], $9::timestamptz[], $10::bigint[], $11::timestamptz[])
        """,
        [voucher.voucher_no for voucher in vouchers],
        [voucher.voucher_id for voucher in vouchers],
        [voucher.key_version for voucher in vouchers],
        [voucher.account_no for voucher in vouchers],
        [voucher.reward for voucher in vouchers],
        [voucher.value_cents for voucher in vouchers],
        [voucher.points for voucher in vouchers],
        [to_datetime(voucher.issued_us) for voucher in vouchers],
        [to_datetime(voucher.valid_until_us) for voucher in vouchers],
        [voucher.posted_points for voucher in vouchers],
        [_at(voucher.notice_due_us) for voucher in vouchers],
    )


async def find_voucher(conn: Connection, voucher_id: str) -> Voucher | None:
    """One voucher; None if there is none."""
    return (await read_vouchers(conn, [voucher_id])).get(voucher_id)


async def find_owner(conn: Connection, voucher_id: str) -> Owned | None:
    """Who owns a voucher; None for an unknown voucher or an erased owner."""
    row = await conn.fetchrow(
        """
        SELECT v.voucher_id, v.account_no,
               (SELECT purchase_id FROM voucher_redemption r WHERE r.voucher_no = v.voucher_no LIMIT 1) AS redeemed_for
        FROM voucher v JOIN account a USING (account_no) WHERE v.voucher_id = $1 AND a.member_id IS NOT NULL
        """,
        voucher_id,
    )
    return None if row is None else Owned(*row)


async def add_redemption(conn: Connection, voucher_no: int, purchase_id: str, redeemed_us: int) -> bool:
    """Record a redemption; False if the purchase has redeemed another voucher meanwhile."""
    status = await conn.execute(
        """
        INSERT INTO voucher_redemption (voucher_no, purchase_id, redeemed_at) VALUES ($1, $2, $3)
        ON CONFLICT (purchase_id) DO NOTHING
        """,
        voucher_no,
        purchase_id,
        to_datetime(redeemed_us),
    )
    return status == "INSERT 0 1"


async def undo_redemption(conn: Connection, voucher_no: int, purchase_id: str, undone_us: int) -> None:
    """Keep a redemption as one that was undone: the purchase may redeem this or another voucher again."""
    await conn.execute(
        """
        WITH gone AS (DELETE FROM voucher_redemption WHERE voucher_no = $1 AND purchase_id = $2 RETURNING redeemed_at)
        INSERT INTO voucher_undone (voucher_no, purchase_id, redeemed_at, undone_at)
        SELECT $1, $2, redeemed_at, $3 FROM gone
        """,
        voucher_no,
        purchase_id,
        to_datetime(undone_us),
    )


async def has_other_voucher(conn: Connection, voucher_no: int, purchase_id: str, at_us: int) -> bool:
    """Whether a purchase has redeemed another voucher, or holds one reserved at an instant."""
    found: bool = await conn.fetchval(
        """
        SELECT EXISTS (SELECT FROM voucher_redemption WHERE purchase_id = $2 AND voucher_no <> $1)
            OR EXISTS (SELECT FROM voucher_reservation
                       WHERE purchase_id = $2 AND voucher_no <> $1 AND reserved_until > $3)
        """,
        voucher_no,
        purchase_id,
        to_datetime(at_us),
    )
    return found


async def write_reservation(conn: Connection, voucher_no: int, purchase_id: str, at_us: int, until_us: int) -> bool:
    """Reserve a voucher in the place of reservations that ended; False if the purchase holds another one meanwhile."""
    await conn.execute(
        "DELETE FROM voucher_reservation WHERE voucher_no = $1 OR (purchase_id = $2 AND reserved_until <= $3)",
        voucher_no,
        purchase_id,
        to_datetime(at_us),
    )
    status = await conn.execute(
        """
        INSERT INTO voucher_reservation (voucher_no, purchase_id, reserved_until) VALUES ($1, $2, $3)
        ON CONFLICT (purchase_id) DO NOTHING
        """,
        voucher_no,
        purchase_id,
        to_datetime(until_us),
    )
    return status == "INSERT 0 1"


async def delete_reservation(conn: Connection, voucher_no: int) -> None:
    """End the reservation of a voucher."""
    await conn.execute("DELETE FROM voucher_reservation WHERE voucher_no = $1", voucher_no)
