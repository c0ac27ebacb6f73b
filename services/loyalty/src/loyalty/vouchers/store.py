"""All SQL of vouchers."""

import asyncpg
from programme.instants import from_datetime, to_datetime

from loyalty.points.store import Connection
from loyalty.vouchers.domain import Redemption, Voucher

VOUCHER = """
    SELECT v.voucher_no, v.voucher_id, v.key_version, v.account_no, v.reward, v.value_cents, v.points, v.issued_at,
           v.valid_until, r.purchase_id, r.redeemed_at
    FROM voucher v LEFT JOIN voucher_redemption r USING (voucher_no)
"""


def voucher_of(row: asyncpg.Record) -> Voucher:
    """A row of `voucher` with its redemption."""
    redemption = None
    if row["purchase_id"] is not None:
        redemption = Redemption(row["purchase_id"], from_datetime(row["redeemed_at"]))
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
        redemption=redemption,
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
                             issued_at, valid_until)
        OVERRIDING SYSTEM VALUE VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        """,
        *voucher[:7],
        to_datetime(voucher.issued_us),
        to_datetime(voucher.valid_until_us),
    )


async def find_voucher(conn: Connection, voucher_id: str) -> Voucher | None:
    """One voucher; None if there is none."""
    row = await conn.fetchrow(VOUCHER + "WHERE v.voucher_id = $1", voucher_id)
    return voucher_of(row) if row else None


async def find_owner(conn: Connection, voucher_id: str) -> str | None:
    """The member who owns a voucher, which never changes; None for an unknown voucher or an erased owner."""
    owner: str | None = await conn.fetchval(
        "SELECT a.member_id FROM voucher v JOIN account a USING (account_no) WHERE v.voucher_id = $1",
        voucher_id,
    )
    return owner


async def add_redemption(conn: Connection, voucher_no: int, redemption: Redemption) -> bool:
    """Record a redemption; False if the purchase has redeemed another voucher meanwhile."""
    status = await conn.execute(
        """
        INSERT INTO voucher_redemption (voucher_no, purchase_id, redeemed_at) VALUES ($1, $2, $3)
        ON CONFLICT (purchase_id) DO NOTHING
        """,
        voucher_no,
        redemption.purchase_id,
        to_datetime(redemption.redeemed_us),
    )
    return status == "INSERT 0 1"


async def vouchers_of(conn: Connection, account_no: int) -> list[Voucher]:
    """All vouchers of an account, newest first."""
    rows = await conn.fetch(VOUCHER + "WHERE v.account_no = $1 ORDER BY v.voucher_no DESC", account_no)
    return [voucher_of(row) for row in rows]
