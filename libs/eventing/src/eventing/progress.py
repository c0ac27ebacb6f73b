"""How far each partition has been read: one row a partition, moved in the same transaction as the events' effects.

The fence: a batch moves the row from the offset its worker believes in to the next one. If the row is elsewhere,
another worker was here, and the batch rolls back. So an event takes effect once whoever believes to own its partition.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

import asyncpg

from eventing.database import Connection
from eventing.records import Partition


class ProgressLost(Exception):
    """The stored offset is not the one believed, or the partition is paused: read the rows again and seek."""


class Progress(NamedTuple):
    """The stored row of a partition; `paused_reason` is set while it waits for an operator."""

    partition: Partition
    next_offset: int
    failures_in_row: int
    paused_at: datetime | None
    paused_reason: str | None


class Step(NamedTuple):
    """A move of one partition from the offset believed to be stored to the offset after the last event handled."""

    number: int
    believed: int
    next_offset: int


async def load(conn: Connection, partitions: Iterable[Partition]) -> dict[Partition, Progress]:
    """The rows of `partitions`, created at offset 0 where there are none."""
    wanted = sorted(partitions)
    stored = await _fetch(conn, wanted)
    # Only the missing ones: inserting over a row that another worker's open batch has moved would wait for it.
    missing = [partition for partition in wanted if partition not in stored]
    if not missing:
        return stored
    await conn.executemany(
        "INSERT INTO event_progress (topic, partition, next_offset) VALUES ($1, $2, 0) ON CONFLICT DO NOTHING", missing
    )
    return stored | await _fetch(conn, missing)


async def _fetch(conn: Connection, partitions: Sequence[Partition]) -> dict[Partition, Progress]:
    rows = await conn.fetch(
        """SELECT p.* FROM event_progress p
           JOIN unnest($1::text[], $2::int[]) AS t(topic, partition) USING (topic, partition)""",
        [partition.topic for partition in partitions],
        [partition.number for partition in partitions],
    )
    return {row.partition: row for row in map(_progress, rows)}


async def load_all(conn: Connection) -> list[Progress]:
    """All rows, by topic and partition."""
    return [_progress(row) for row in await conn.fetch("SELECT * FROM event_progress ORDER BY topic, partition")]


async def advance(conn: Connection, topic: str, steps: Sequence[Step]) -> None:
    """Moves the rows of `topic`, or raises ProgressLost and leaves the transaction to be rolled back.

    Several rows are locked in ascending order first, so that two workers that both believe to own them wait for each
    other instead of deadlocking; the comparison is a later statement, so it sees what the other one wrote. An UPDATE
    of one row waits and compares by itself.
    """
    ordered = sorted(steps)
    numbers = [step.number for step in ordered]
    if len(ordered) > 1:
        await conn.execute(
            """SELECT FROM event_progress WHERE topic = $1 AND partition = ANY($2::int[])
               ORDER BY partition FOR UPDATE""",
            topic,
            numbers,
        )
    status = await conn.execute(
        """UPDATE event_progress AS p SET next_offset = s.next_offset, failures_in_row = 0
           FROM unnest($2::int[], $3::bigint[], $4::bigint[]) AS s(partition, believed, next_offset)
           WHERE p.topic = $1 AND p.partition = s.partition
             AND p.next_offset = s.believed AND p.paused_at IS NULL""",
        topic,
        numbers,
        [step.believed for step in ordered],
        [step.next_offset for step in ordered],
    )
    if status != f"UPDATE {len(ordered)}":
        raise ProgressLost(f"{topic}: {status} of {len(ordered)} partitions, another worker was here")


async def advance_past_failure(conn: Connection, topic: str, step: Step, *, limit: int, reason: str) -> bool:
    """Moves past one event given up on; the one that makes `limit` in a row pauses the partition.

    Returns whether the partition is paused now. Raises ProgressLost like `advance`.
    """
    paused = await conn.fetchval(
        """UPDATE event_progress SET
             next_offset = $4,
             failures_in_row = failures_in_row + 1,
             paused_at = CASE WHEN failures_in_row + 1 >= $5 THEN now() END,
             paused_reason = CASE WHEN failures_in_row + 1 >= $5 THEN $6 END
           WHERE topic = $1 AND partition = $2 AND next_offset = $3 AND paused_at IS NULL
           RETURNING paused_at IS NOT NULL""",
        topic,
        *step,
        limit,
        reason,
    )
    if paused is None:
        raise ProgressLost(f"{topic}[{step.number}]: another worker was here")
    return bool(paused)


async def pause(conn: Connection, partition: Partition, reason: str) -> None:
    """Stops a partition until an operator resumes it; one that is paused keeps its reason."""
    await conn.execute(
        """UPDATE event_progress SET paused_at = now(), paused_reason = $3
           WHERE topic = $1 AND partition = $2 AND paused_at IS NULL""",
        *partition,
        reason,
    )


async def resume(conn: Connection, partition: Partition) -> bool:
    """Lets a paused partition go on and forgets its failures. Returns False if it was not paused."""
    status = await conn.execute(
        """UPDATE event_progress SET paused_at = NULL, paused_reason = NULL, failures_in_row = 0
           WHERE topic = $1 AND partition = $2 AND paused_at IS NOT NULL""",
        *partition,
    )
    return bool(status == "UPDATE 1")


async def skip(conn: Connection, partition: Partition, next_offset: int) -> bool:
    """Lets a paused partition go on at a later offset: what lies between is not read. False if nothing was changed.

    The partition must be paused, and `next_offset` beyond the stored one.
    """
    status = await conn.execute(
        """UPDATE event_progress SET next_offset = $3, paused_at = NULL, paused_reason = NULL, failures_in_row = 0
           WHERE topic = $1 AND partition = $2 AND paused_at IS NOT NULL AND next_offset < $3""",
        *partition,
        next_offset,
    )
    return bool(status == "UPDATE 1")


def _progress(row: asyncpg.Record) -> Progress:
    return Progress(
        Partition(row["topic"], row["partition"]),
        row["next_offset"],
        row["failures_in_row"],
        row["paused_at"],
        row["paused_reason"],
    )
