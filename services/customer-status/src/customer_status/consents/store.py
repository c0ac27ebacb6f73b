"""All SQL on consents. Whoever adds or reads them to decide by has locked the member."""

from collections.abc import Collection, Sequence

from eventing.database import Connection
from programme.instants import from_datetime, to_datetime

from customer_status.consents.domain import Consent

_LATEST = """
    SELECT DISTINCT ON (account_no, channel) account_no, channel, granted, source, decided_at FROM consent
    WHERE account_no = ANY ($1::bigint[]) ORDER BY account_no, channel, decided_at DESC, granted"""


async def add_consents(
    conn: Connection, account_no: int, consents: Sequence[Consent], at_us: int, recorded_by: str
) -> None:
    """Add decisions; one that is known already is not added again."""
    recorded_at = to_datetime(at_us)
    await conn.executemany(
        """
        INSERT INTO consent (account_no, channel, granted, source, decided_at, recorded_at, recorded_by)
        VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING""",
        [
            (account_no, channel, granted, source, to_datetime(decided_us), recorded_at, recorded_by)
            for channel, granted, source, decided_us in consents
        ],
    )


async def latest_consents(conn: Connection, account_no: int) -> list[Consent]:
    """The decision that counts for each channel the member decided about: the latest, of one instant the refusal."""
    return [
        Consent(row["channel"], row["granted"], row["source"], from_datetime(row["decided_at"]))
        for row in await conn.fetch(_LATEST, [account_no])
    ]


async def granted_channels(conn: Connection, account_nos: Collection[int]) -> dict[int, list[str]]:
    """The channels over which these members may be contacted, by name; accounts without one are left out."""
    found: dict[int, list[str]] = {}
    for row in await conn.fetch(_LATEST, list(account_nos)):
        if row["granted"]:
            found.setdefault(row["account_no"], []).append(row["channel"])
    return found


async def forget(conn: Connection, account_nos: Collection[int]) -> None:
    """Delete all decisions of locked accounts that are erased."""
    await conn.execute("DELETE FROM consent WHERE account_no = ANY ($1::bigint[])", list(account_nos))
