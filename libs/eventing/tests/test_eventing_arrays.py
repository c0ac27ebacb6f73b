"""Arrays written as text are what PostgreSQL reads."""

import asyncpg
from devstack import ServiceDatabase
from eventing.arrays import numbers, texts

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
    finally:
        await conn.close()
