"""The SQL of the keys that vouchers were issued under."""

from typing import NamedTuple

from loyalty.points.store import Connection


class IssuedUnder(NamedTuple):
    """The newest voucher of a version of the key."""

    key_version: int
    voucher_no: int
    voucher_id: str


# From version to version by the index: vouchers are many, versions few.
NEWEST = """
    WITH RECURSIVE versions AS (
        (SELECT min(key_version) AS version FROM voucher)
        UNION ALL
        SELECT (SELECT min(key_version) FROM voucher WHERE key_version > version) FROM versions
        WHERE version IS NOT NULL
    )
    SELECT issued.* FROM versions, LATERAL (
        SELECT key_version, voucher_no, voucher_id FROM voucher
        WHERE key_version = version ORDER BY voucher_no DESC LIMIT 1
    ) AS issued
"""


async def newest_by_key_version(conn: Connection) -> list[IssuedUnder]:
    """One voucher for each version that any was issued under."""
    return [IssuedUnder(*row) for row in await conn.fetch(NEWEST)]
