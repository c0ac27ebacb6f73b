"""Reads and writes of segments, over all members at once."""

from collections.abc import AsyncIterator
from datetime import date

import msgspec
from eventing.database import LONG_STATEMENT_S, Connection, allow_long_statements

from customer_status.segments.domain import Bounds, Segment
from customer_status.segments.statements import COUNTS, SNAPSHOT, parameters

CSV_HEADER = "member_id,level,lifecycle,abc,revenue_cents\n"
_LINE = "concat_ws(',', member_id, level, lifecycle, coalesce(abc, ''), revenue_cents) || E'\\n'"


class Snapshot(msgspec.Struct, frozen=True):
    """A stored snapshot without its members."""

    on: date
    digest: str
    segments: list[Segment]


async def count_segments(conn: Connection, bounds: Bounds) -> list[Segment]:
    """Members and revenue by level, lifecycle and class at the end of a day."""
    await _allow_much(conn)
    return [Segment(*row) for row in await conn.fetch(COUNTS, *parameters(bounds), timeout=LONG_STATEMENT_S)]


async def take_snapshot(conn: Connection, bounds: Bounds) -> tuple[Snapshot, bool]:
    """Store the segments of a day in the place of those stored for it before; whether there were none.

    Concurrent ones of the same day wait for each other.
    """
    await _allow_much(conn)
    await conn.execute("SELECT pg_advisory_xact_lock(hashtextextended('segment_snapshot', 0))")
    removed = await conn.execute("DELETE FROM segment_snapshot WHERE snapshot_date = $1", bounds.on)
    await conn.execute("DELETE FROM segment_snapshot_member WHERE snapshot_date = $1", bounds.on)
    await conn.execute(SNAPSHOT, *parameters(bounds), timeout=LONG_STATEMENT_S)
    rows = await conn.fetch(
        """SELECT level, lifecycle, abc, count(*) AS members, sum(revenue_cents)::bigint AS revenue_cents
           FROM segment_snapshot_member WHERE snapshot_date = $1
           GROUP BY level, lifecycle, abc ORDER BY level, lifecycle, abc""",
        bounds.on,
    )
    segments = [Segment(*row) for row in rows]
    digest = await conn.fetchval(
        f"""SELECT encode(sha256(convert_to(
                $2 || coalesce(string_agg({_LINE}, '' ORDER BY member_id), ''), 'UTF8')), 'hex')
            FROM segment_snapshot_member JOIN member USING (account_no) WHERE snapshot_date = $1""",
        bounds.on,
        CSV_HEADER,
        timeout=LONG_STATEMENT_S,
    )
    await conn.execute(
        "INSERT INTO segment_snapshot (snapshot_date, segments, digest) VALUES ($1, $2, $3)",
        bounds.on,
        msgspec.json.encode(segments).decode(),
        digest,
    )
    return Snapshot(bounds.on, digest, segments), removed == "DELETE 0"


async def find_snapshot(conn: Connection, on: date) -> Snapshot | None:
    """The snapshot of a day."""
    row = await conn.fetchrow("SELECT segments, digest FROM segment_snapshot WHERE snapshot_date = $1", on)
    if row is None:
        return None
    segments = msgspec.json.decode(row["segments"], type=list[Segment])
    return Snapshot(on, row["digest"], segments)


async def newest_snapshot(conn: Connection, not_after: date) -> date | None:
    """The date of the newest snapshot of that day or before."""
    found: date | None = await conn.fetchval(
        "SELECT max(snapshot_date) FROM segment_snapshot WHERE snapshot_date <= $1", not_after
    )
    return found


async def snapshot_lines(conn: Connection, on: date, at_once: int = 5_000) -> AsyncIterator[str]:
    """The snapshot as CSV, some thousand lines at a time; members erased since are left out."""
    yield CSV_HEADER
    cursor = await conn.cursor(
        f"""SELECT {_LINE} AS line FROM segment_snapshot_member JOIN member USING (account_no)
            WHERE snapshot_date = $1 AND member_id IS NOT NULL ORDER BY member_id""",
        on,
    )
    while rows := await cursor.fetch(at_once):
        yield "".join(row["line"] for row in rows)


async def _allow_much(conn: Connection) -> None:
    """All members at once: more time, memory to add up in, and several processes even for few columns of many rows.

    No compiler, which costs more than it brings.
    """
    await allow_long_statements(conn)
    await conn.execute("SET LOCAL work_mem = '256MB'")
    await conn.execute("SET LOCAL jit = off")
    await conn.execute("SET LOCAL parallel_tuple_cost = 0")
    await conn.execute("SET LOCAL parallel_setup_cost = 0")
