"""Arrays written as text are what PostgreSQL reads."""

import asyncpg
import pytest
from devstack import ServiceDatabase
from eventing.arrays import lists, numbers, read_numbers, texts

TEXTS = [
    "plain",
    "",
    " ",
    "NULL",
    "null",
    'a "quoted" one',
    "back\\slash",
    '\\"',
    "{}",
    "a,b",
    "ümlaut",
    '{"2026": [1, 0]}',
]


async def test_what_is_written_is_what_is_read(database: ServiceDatabase) -> None:
    conn = await asyncpg.connect(database.app_url)
    try:
        assert await conn.fetchval("SELECT $1::text::text[]", texts(TEXTS)) == TEXTS
        assert await conn.fetchval("SELECT $1::text::bigint[]", numbers([0, None, 2**63 - 1])) == [0, None, 2**63 - 1]
        assert await conn.fetchval("SELECT $1::text::text[]", texts([])) == []
        assert await conn.fetchval("SELECT $1::text::int[]", numbers([])) == []
        each = "SELECT each::bigint[]::text FROM unnest($1::text::text[]) WITH ORDINALITY AS given (each, n) ORDER BY n"
        several: list[list[list[int]]] = [[], [[]], [[], [1]], [[1, -2], [], [2**62]], [[], []]]
        for values in several:
            rows = await conn.fetch(each, lists(values))
            assert [read_numbers(row["each"]) for row in rows] == values
    finally:
        await conn.close()


def test_a_text_that_postgresql_has_no_place_for_is_refused() -> None:
    with pytest.raises(ValueError, match="NUL"):
        texts(["a", "b\0c"])
