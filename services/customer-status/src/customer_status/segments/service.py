"""Counting segments and taking snapshots of them, as of the end of a civil day."""

from eventing.database import Connection
from programme.terms import Programme

from customer_status.segments import store
from customer_status.segments.domain import Segment, bounds_on
from customer_status.segments.store import Snapshot


async def count_segments(conn: Connection, programme: Programme, day: int) -> list[Segment]:
    """Members by level, lifecycle and class, of everything that had happened by the end of the day; empty ones not."""
    return await store.count_segments(conn, bounds_on(programme, day))


async def take_snapshot(conn: Connection, programme: Programme, day: int) -> tuple[Snapshot, bool]:
    """Store who is in which segment at the end of the day; whether it is the first snapshot of that day.

    What is known now decides. Taken again after late events, it may differ from what was stored, and replaces it.
    """
    return await store.take_snapshot(conn, bounds_on(programme, day))
