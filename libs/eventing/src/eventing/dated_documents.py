"""JSON documents by the date they are valid from, remembered so that a start can tell whether the past was edited.

What is an edit is the service's to say: its `keep` gets what there is and returns what to keep, or raises ValueError.
"""

from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

import msgspec

from eventing.commands import Refused
from eventing.database import Connection
from eventing.failures import WorkerStopped

Documents = Mapping[date, Mapping[str, Any]]


async def adopt(conn: Connection, table: str, keep: Callable[[Documents], Documents]) -> None:
    """At a process's start: puts what `keep` makes of the documents in their place, one process after the other.

    Raises WorkerStopped with the text of the ValueError by which `keep` refuses; then they stay as they are.
    """
    async with conn.transaction():
        await conn.execute(f"LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE")
        kept = await _load(conn, table)
        try:
            wanted = keep(kept)
        except ValueError as refusal:
            raise WorkerStopped(str(refusal)) from None
        await conn.execute(f"DELETE FROM {table} WHERE valid_from <> ALL($1::date[])", list(wanted))
        changed = [day for day, content in wanted.items() if content != kept.get(day)]
        await conn.executemany(
            f"""INSERT INTO {table} (valid_from, content) VALUES ($1, $2)
                ON CONFLICT (valid_from) DO UPDATE SET content = excluded.content""",
            [(day, msgspec.json.encode(wanted[day]).decode()) for day in changed],
        )


async def check(conn: Connection, table: str, keep: Callable[[Documents], Documents]) -> None:
    """For a command: writes nothing. Raises Refused where `adopt` would stop the worker."""
    try:
        keep(await _load(conn, table))
    except ValueError as refusal:
        raise Refused(str(refusal)) from None


async def _load(conn: Connection, table: str) -> dict[date, Mapping[str, Any]]:
    rows = await conn.fetch(f"SELECT valid_from, content FROM {table}")
    return {row["valid_from"]: msgspec.json.decode(row["content"]) for row in rows}
