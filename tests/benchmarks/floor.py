"""The floor: COPY of the rows that the posting wrote, into the same tables with their indexes, and nothing else.

One connection, a transaction of three COPYs for every 500 purchases. Once with every row encoded beforehand: no worker
with one connection can be faster, whatever it is written in. And once from Python values by asyncpg, which encodes them
as it writes, as it does for the service: no worker that decides in Python can be faster.
"""

import io
import struct
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import asyncpg

from tests.benchmarks.servers import Servers
from tests.benchmarks.workload import PURCHASE_PREFIX

BATCH = 500
TABLES = ("purchase_position", "ledger_entry", "purchase_return")
# The binary format of COPY: a header, rows of (number of fields, (length, bytes) ...), and a row of -1 fields.
_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_FIELDS = struct.Struct(">h")
_LENGTH = struct.Struct(">i")


Write = Callable[[asyncpg.Connection, str, Sequence[Any]], Awaitable[object]]


class Floor(NamedTuple):
    """How long the new rows of loyalty's database take."""

    encoded_seconds: float
    python_seconds: float


async def floor(servers: Servers) -> Floor:
    """Both measurements, each into empty copies of the tables."""
    async with servers.admin("loyalty") as conn:
        encoded = await _seconds(conn, {table: await _read_new(conn, table) for table in TABLES}, _write_encoded)
        rows = {table: await conn.fetch(_new_rows(table)) for table in TABLES}
        values = {table: [tuple(row.values()) for row in rows[table]] for table in TABLES}
        return Floor(encoded, await _seconds(conn, values, _write_values))


async def _seconds(conn: asyncpg.Connection, tables: Mapping[str, Sequence[Any]], write: Write) -> float:
    await conn.execute("CREATE SCHEMA floor")
    for table in TABLES:
        await conn.execute(f"CREATE TABLE floor.{table} (LIKE public.{table} INCLUDING ALL)")
    await conn.execute("CHECKPOINT")
    batches = len(tables["purchase_position"]) // BATCH + 1
    began = time.perf_counter()
    for n in range(batches):
        async with conn.transaction():
            for table, rows in tables.items():
                await write(conn, table, rows[len(rows) * n // batches : len(rows) * (n + 1) // batches])
    seconds = time.perf_counter() - began
    await conn.execute("DROP SCHEMA floor CASCADE")
    return seconds


def _new_rows(table: str) -> str:
    """The rows of the measured events, in the order they were written."""
    return f"SELECT * FROM {table} WHERE purchase_id LIKE '{PURCHASE_PREFIX}%' ORDER BY ctid"


async def _read_new(conn: asyncpg.Connection, table: str) -> list[bytes]:
    output = io.BytesIO()
    await conn.copy_from_query(_new_rows(table), output=output, format="binary")
    return list(_rows(output.getvalue()))


def _rows(data: bytes) -> Iterator[bytes]:
    at = len(_HEADER)
    while (fields := _FIELDS.unpack_from(data, at)[0]) != -1:
        begin, at = at, at + _FIELDS.size
        for _ in range(fields):
            at += _LENGTH.size + max(0, _LENGTH.unpack_from(data, at)[0])
        yield data[begin:at]


async def _write_encoded(conn: asyncpg.Connection, table: str, rows: Sequence[bytes]) -> None:
    if rows:
        data = b"".join([_HEADER, *rows, _FIELDS.pack(-1)])
        await conn.copy_to_table(table, schema_name="floor", source=io.BytesIO(data), format="binary")


async def _write_values(conn: asyncpg.Connection, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
    if rows:
        await conn.copy_records_to_table(table, schema_name="floor", records=rows)
