"""What is packed for COPY comes out of the table as it went in."""

import struct
from datetime import UTC, datetime

import asyncpg
from eventing import binary_copy

AWKWARD = ["", "a", '"', "\\", "{}", "NULL", ",", "ä\t\n", "\N{GRINNING FACE}" * 50]


async def test_packed_rows_are_what_was_meant(conn: asyncpg.Connection) -> None:
    await conn.execute(
        "CREATE TEMP TABLE packed (no int8, at timestamptz, day date, word text, words text[], document jsonb)"
    )
    document = b'{"food": 1, "no": "\xc3\xa4"}'
    instants = [0, 946_684_800_000_000, 946_684_799_999_999, 4_102_444_800_123_456]
    rows = [
        struct.pack("!hiqiqii", 6, 8, no, 8, binary_copy.timestamp(us), 4, binary_copy.date(us // 86_400_000_000))
        + binary_copy.text(AWKWARD[no] if no else None)
        + binary_copy.texts(AWKWARD[:no])
        + struct.pack("!iB", len(document) + 1, binary_copy.JSONB_VERSION)
        + document
        for no, us in enumerate(instants)
    ]
    await binary_copy.copy_packed(conn, "packed", ("no", "at", "day", "word", "words", "document"), rows)
    stored = await conn.fetch("SELECT *, document->>'no' AS umlaut FROM packed ORDER BY no")
    assert [(row["no"], row["word"], row["words"], row["umlaut"]) for row in stored] == [
        (no, AWKWARD[no] if no else None, AWKWARD[:no], "ä") for no in range(len(instants))
    ]
    assert [row["day"] for row in stored] == [row["at"].date() for row in stored]
    assert [(row["at"] - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() for row in stored] == [
        us / 1_000_000 for us in instants
    ]


async def test_all_awkward_texts_in_one_array(conn: asyncpg.Connection) -> None:
    await conn.execute("CREATE TEMP TABLE packed (words text[])")
    await binary_copy.copy_packed(conn, "packed", ("words",), [struct.pack("!h", 1) + binary_copy.texts(AWKWARD)])
    assert await conn.fetchval("SELECT words FROM packed") == AWKWARD
