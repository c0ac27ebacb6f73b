"""Entries are the same rows, few of them or many."""

import asyncpg
import pytest
from loyalty.points.account import Entry
from loyalty.points.entry_store import FEW, add_entries


@pytest.mark.parametrize("count", [0, 1, FEW, FEW + 1])
async def test_entries_are_stored_as_they_are(conn: asyncpg.Connection, count: int) -> None:
    entries = [
        Entry(7, number, "purchase", -(2**40) - number, f"p-{number}" if number % 2 else None, None, 'a "{,\\} \u00e4')
        for number in range(1, count + 1)
    ]
    await add_entries(conn, entries)
    rows = await conn.fetch(f"SELECT {', '.join(Entry.__struct_fields__)} FROM ledger_entry ORDER BY entry_no")
    assert [Entry(*row) for row in rows] == entries
