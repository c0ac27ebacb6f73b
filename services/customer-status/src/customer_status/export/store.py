"""The SQL of an export that no other feature has: whole tables of one account."""

from typing import NamedTuple

import asyncpg
from eventing.database import Connection

_ROWS = """
    SELECT (SELECT events FROM member WHERE account_no = $1)
        + (SELECT count(*) FROM offer_claim WHERE account_no = $1)
        + (SELECT count(*) FROM consent WHERE account_no = $1)
        + (SELECT count(*) FROM contact WHERE account_no = $1)
        + (SELECT count(*) FROM contact_notice WHERE account_no = $1)
        + (SELECT count(*) FROM survey WHERE account_no = $1)
        + (SELECT count(*) FROM segment_snapshot_member WHERE account_no = $1 AND snapshot_date IN (
            SELECT snapshot_date FROM segment_snapshot))"""
_CLAIMS = """
    SELECT claim_no, offer_id, kind, title, slot_no, starts_at, level, claimed_at, cancelled_at
    FROM offer_claim JOIN offer USING (offer_id) LEFT JOIN offer_slot USING (offer_id, slot_no)
    WHERE account_no = $1 ORDER BY claim_no"""
_CONSENTS = """
    SELECT channel, granted, source, decided_at, recorded_at FROM consent WHERE account_no = $1
    ORDER BY decided_at, channel, granted"""
_CONTACTS = """
    SELECT kind, cause, level, told_at, channels FROM contact WHERE account_no = $1 ORDER BY contact_no"""
_NOTICES = """
    SELECT kind, received_at, ends_at, reason FROM contact_notice WHERE account_no = $1 ORDER BY ends_at, kind, cause"""
_SURVEYS = """
    SELECT survey_id, purchase_id, best_score, asked_at, score, answered_at FROM survey WHERE account_no = $1
    ORDER BY asked_at, survey_id"""
_PERSON = "SELECT name, email, assigned_at FROM contact_person WHERE account_no = $1"
# One look by key a snapshot: the table is sorted by date, and there is a row of every member in each.
_SNAPSHOTS = """
    SELECT snapshot_date AS date, level, lifecycle, abc, revenue_cents
    FROM segment_snapshot JOIN segment_snapshot_member USING (snapshot_date) WHERE account_no = $1
    ORDER BY snapshot_date"""


class Stored(NamedTuple):
    """Rows of an account with the names that the export has, beside what the levels are computed from."""

    claims: list[asyncpg.Record]
    consents: list[asyncpg.Record]
    contacts: list[asyncpg.Record]
    notices: list[asyncpg.Record]
    surveys: list[asyncpg.Record]
    contact_person: asyncpg.Record | None
    snapshots: list[asyncpg.Record]


async def rows_of(conn: Connection, account_no: int) -> int:
    """How many rows an export of the account has."""
    count: int = await conn.fetchval(_ROWS, account_no)
    return count


async def stored(conn: Connection, account_no: int) -> Stored:
    """All that features keep of an account; `reason` of a notice is JSON text."""
    return Stored(
        claims=await conn.fetch(_CLAIMS, account_no),
        consents=await conn.fetch(_CONSENTS, account_no),
        contacts=await conn.fetch(_CONTACTS, account_no),
        notices=await conn.fetch(_NOTICES, account_no),
        surveys=await conn.fetch(_SURVEYS, account_no),
        contact_person=await conn.fetchrow(_PERSON, account_no),
        snapshots=await conn.fetch(_SNAPSHOTS, account_no),
    )
