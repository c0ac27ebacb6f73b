"""All SQL of vouchers."""

from collections.abc import Collection, Iterable, Sequence

import asyncpg
from programme.instants import from_datetime, to_datetime

from loyalty.points.store import Connection
from loyalty.vouchers.domain import CompleteReturn, Naming, Voucher

VOUCHER = """
    SELECT v.voucher_no, v.voucher_id, v.key_version, v.account_no, v.reward, v.value_cents, v.points, v.issued_at,
           v.valid_until, v.posted_points, v.cancelled_at
    FROM voucher v
"""


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
        cancelled_us=from_datetime(row["cancelled_at"]) if row["cancelled_at"] else None,
    )


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


async def _with_uses(conn: Connection, rows: Sequence[asyncpg.Record]) -> dict[str, Voucher]:
    found = {row["voucher_id"]: _voucher_of(row) for row in rows}
    if not found:
        return found
    by_number = {voucher.voucher_no: voucher for voucher in found.values()}
    redemptions = await conn.fetch(
        "SELECT voucher_no, purchase_id, redeemed_at FROM voucher_redemption WHERE voucher_no = ANY($1)",
        list(by_number),
    )
    for row in redemptions:
        by_number[row["voucher_no"]].add_redemption(row["purchase_id"], from_datetime(row["redeemed_at"]))
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
    """Write what the changed ones cost, and when they were cancelled."""
    changed = [voucher for voucher in vouchers if voucher.changed]
    if changed:
        await conn.execute(
            """
            UPDATE voucher v SET posted_points = u.posted_points, cancelled_at = u.cancelled_at
            FROM unnest($1::bigint[], $2::bigint[], $3::timestamptz[]) AS u(voucher_no, posted_points, cancelled_at)
            WHERE v.voucher_no = u.voucher_no
            """,
            [voucher.voucher_no for voucher in changed],
            [voucher.posted_points for voucher in changed],
            [None if voucher.cancelled_us is None else to_datetime(voucher.cancelled_us) for voucher in changed],
        )


async def draw_voucher_no(conn: Connection) -> int:
    """The number of the next voucher; drawn first because the code is derived from it."""
    number: int = await conn.fetchval("SELECT nextval(pg_get_serial_sequence('voucher', 'voucher_no'))")
    return number


async def add_voucher(conn: Connection, voucher: Voucher) -> None:
    """Store a voucher under the number drawn for it."""
    await conn.execute(
        """
        INSERT INTO voucher (voucher_no, voucher_id, key_version, account_no, reward, value_cents, points,
                             issued_at, valid_until, posted_points)
        OVERRIDING SYSTEM VALUE VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
        """,
        voucher.voucher_no,
        voucher.voucher_id,
        voucher.key_version,
        voucher.account_no,
        voucher.reward,
        voucher.value_cents,
        voucher.points,
        to_datetime(voucher.issued_us),
        to_datetime(voucher.valid_until_us),
        voucher.posted_points,
    )


async def find_voucher(conn: Connection, voucher_id: str) -> Voucher | None:
    """One voucher; None if there is none."""
    return (await read_vouchers(conn, [voucher_id])).get(voucher_id)


async def find_owner(conn: Connection, voucher_id: str) -> str | None:
    """The member who owns a voucher, which never changes; None for an unknown voucher or an erased owner."""
    owner: str | None = await conn.fetchval(
        "SELECT a.member_id FROM voucher v JOIN account a USING (account_no) WHERE v.voucher_id = $1",
        voucher_id,
    )
    return owner


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
