"""Events that were not accepted, kept with their bytes and the reason until an operator decides."""

import base64
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import asyncpg

from eventing.database import Connection
from eventing.envelope import Event
from eventing.records import Headers, Record

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_TEXT: Final = 2000


class Refusal(NamedTuple):
    """A record that is to become a dead letter; `event` is None where the record could not be read as one."""

    record: Record
    event: Event | None
    reason: str
    detail: str


class DeadLetter(NamedTuple):
    """A stored dead letter; `state` is open, retried or discarded."""

    dead_letter_id: int
    record: Record
    event_id: str | None
    event_type: str | None
    reason: str
    detail: str
    state: str
    created_at: datetime
    decided_at: datetime | None


async def insert(conn: Connection, refusals: Sequence[Refusal]) -> None:
    """Stores `refusals`; one already stored for the same record stays as it is."""
    if not refusals:
        return
    await conn.executemany(
        """INSERT INTO dead_letter (topic, partition, record_offset, received_at, key, value, headers, event_id,
                                    event_type, reason, detail)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
           ON CONFLICT (topic, partition, record_offset) DO NOTHING""",
        [_row(refusal) for refusal in refusals],
    )


async def find(
    conn: Connection, *, state: str | None = "open", reason: str | None = None, limit: int = 100
) -> list[DeadLetter]:
    """The oldest dead letters in that state with that reason (None: any)."""
    rows = await conn.fetch(
        """SELECT * FROM dead_letter
           WHERE ($1::text IS NULL OR state = $1) AND ($2::text IS NULL OR reason = $2)
           ORDER BY dead_letter_id LIMIT $3""",
        state,
        reason,
        limit,
    )
    return [_dead_letter(row) for row in rows]


async def get(conn: Connection, dead_letter_id: int) -> DeadLetter | None:
    """The dead letter of that number, if there is one."""
    row = await conn.fetchrow("SELECT * FROM dead_letter WHERE dead_letter_id = $1", dead_letter_id)
    return None if row is None else _dead_letter(row)


async def decide(conn: Connection, dead_letter_ids: Sequence[int], state: str) -> int:
    """Marks open dead letters as retried or discarded; returns how many were open."""
    status = await conn.execute(
        """UPDATE dead_letter SET state = $2, decided_at = now()
           WHERE dead_letter_id = ANY($1::bigint[]) AND state = 'open'""",
        dead_letter_ids,
        state,
    )
    return int(status.removeprefix("UPDATE "))


async def count_open(conn: Connection) -> int:
    """The number of dead letters nobody has decided about."""
    return int(await conn.fetchval("SELECT count(*) FROM dead_letter WHERE state = 'open'"))


async def delete_about(conn: Connection, key: str, is_about: Callable[[bytes], bool]) -> int:
    """Deletes the dead letters that carry `key`, and those that name it and are about it by `is_about`; how many."""
    rows = await conn.fetch(
        "SELECT dead_letter_id, key, value FROM dead_letter WHERE key = $1 OR position($2::bytea IN value) > 0",
        key.encode(),
        f'"{key}"'.encode(),
    )
    found = [row["dead_letter_id"] for row in rows if row["key"] == key.encode() or is_about(row["value"])]
    await conn.execute("DELETE FROM dead_letter WHERE dead_letter_id = ANY($1::bigint[])", found)
    return len(found)


def _row(refusal: Refusal) -> tuple[object, ...]:
    record, event = refusal.record, refusal.event
    return (
        record.topic,
        record.partition,
        record.offset,
        _EPOCH + timedelta(microseconds=record.timestamp_us),
        record.key,
        record.value,
        json.dumps([[_storable(name), _encoded(value)] for name, value in record.headers]),
        event and _storable(event.id),
        event and _storable(event.type),
        _storable(refusal.reason),
        _storable(refusal.detail),
    )


def _encoded(value: bytes | None) -> str | None:
    return None if value is None else base64.b64encode(value).decode()


def _storable(text: str) -> str:
    """PostgreSQL's text has no NUL and UTF-8 no surrogates; a dead letter must never fail to be stored."""
    return text[:_MAX_TEXT].replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()


def _dead_letter(row: asyncpg.Record) -> DeadLetter:
    record = Record(
        row["topic"],
        row["partition"],
        row["record_offset"],
        (row["received_at"] - _EPOCH) // timedelta(microseconds=1),
        row["key"],
        row["value"],
        _headers(row["headers"]),
    )
    kept = ("event_id", "event_type", "reason", "detail", "state", "created_at", "decided_at")
    return DeadLetter(row["dead_letter_id"], record, *(row[name] for name in kept))


def _headers(text: str) -> Headers:
    return tuple((name, None if value is None else base64.b64decode(value)) for name, value in json.loads(text))
