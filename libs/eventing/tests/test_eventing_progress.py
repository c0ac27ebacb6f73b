"""The fence and the dead letters, on a real database."""

import asyncio

import asyncpg
import pytest
from eventing import dead_letters, progress
from eventing.database import close, connect
from eventing.dead_letters import Refusal
from eventing.envelope import Event
from eventing.progress import ProgressLost, Step
from eventing.records import Partition, Record
from msgspec.structs import replace

FIRST, SECOND = Partition("t", 0), Partition("t", 1)


@pytest.fixture
async def stored(conn: asyncpg.Connection) -> None:
    await progress.load(conn, [FIRST, SECOND])


async def offsets(conn: asyncpg.Connection) -> list[int]:
    return [row.next_offset for row in await progress.load_all(conn)]


async def test_partitions_begin_at_zero_and_are_loaded_where_they_are(conn: asyncpg.Connection) -> None:
    assert (await progress.load(conn, [FIRST]))[FIRST].next_offset == 0
    await progress.advance(conn, "t", [Step(0, 0, 7)])
    rows = await progress.load(conn, [SECOND, FIRST])
    assert {partition: row.next_offset for partition, row in rows.items()} == {FIRST: 7, SECOND: 0}


@pytest.mark.usefixtures("stored")
async def test_a_step_from_another_offset_moves_nothing(conn: asyncpg.Connection) -> None:
    await progress.advance(conn, "t", [Step(0, 0, 5), Step(1, 0, 9)])
    with pytest.raises(ProgressLost):
        async with conn.transaction():
            await progress.advance(conn, "t", [Step(1, 9, 10), Step(0, 4, 6)])
    assert await offsets(conn) == [5, 9]


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize("partitions", [[FIRST], [FIRST, SECOND]])
async def test_of_two_workers_with_the_same_belief_one_wins(
    partitions: list[Partition], conn: asyncpg.Connection, database_url: str
) -> None:
    """In opposite orders, so that they would deadlock if the rows were not locked ascending."""

    async def move(steps: list[Step], results: list[str]) -> None:
        other = await connect(database_url, application_name="other")
        for _ in range(50):
            try:
                async with other.transaction():
                    await progress.advance(other, "t", steps)
                    await asyncio.sleep(0.001)
                results.append("won")
            except ProgressLost:
                results.append("lost")
            rows = await progress.load(other, partitions)
            steps = [Step(p.number, rows[p].next_offset, rows[p].next_offset + 1) for p in reversed(rows)]
        await close(other)

    results: list[str] = []
    steps = [Step(partition.number, 0, 1) for partition in partitions]
    await asyncio.gather(move(steps, results), move(steps[::-1], results))
    assert (await offsets(conn))[: len(partitions)] == [results.count("won")] * len(partitions)
    assert "lost" in results


@pytest.mark.usefixtures("stored")
async def test_failures_in_a_row_pause_and_a_success_between_does_not(conn: asyncpg.Connection) -> None:
    async def fail(offset: int) -> bool:
        return await progress.advance_past_failure(conn, "t", Step(0, offset, offset + 1), limit=2, reason="why")

    assert not await fail(0)
    await progress.advance(conn, "t", [Step(0, 1, 2)])
    assert not await fail(2)
    assert await fail(3)
    [row, _] = await progress.load_all(conn)
    assert (row.next_offset, row.failures_in_row, row.paused_reason) == (4, 2, "why")
    with pytest.raises(ProgressLost):
        await progress.advance(conn, "t", [Step(0, 4, 5)])
    with pytest.raises(ProgressLost):
        await fail(4)
    assert await progress.resume(conn, FIRST)
    assert not await progress.resume(conn, FIRST)
    await progress.advance(conn, "t", [Step(0, 4, 5)])


async def test_a_dead_letter_keeps_everything(conn: asyncpg.Connection) -> None:
    record = Record(
        "t", 1, 7, 1_795_339_800_123_456, b"\0k", b"\xff\0", (("a\0", b"\0"), ("a\0", b"2"), ("\ud800", b""))
    )
    event = Event("id\0", "type", "/s", b"", record)
    await dead_letters.insert(conn, [Refusal(record, event, "why", "x\0" * 2000), Refusal(record, None, "again", "")])
    [letter] = await dead_letters.find(conn)
    names = (("a\N{REPLACEMENT CHARACTER}", b"\0"), ("a\N{REPLACEMENT CHARACTER}", b"2"), ("?", b""))
    assert letter.record == replace(record, headers=names)
    assert (letter.event_id, letter.event_type, letter.reason) == ("id\N{REPLACEMENT CHARACTER}", "type", "why")
    assert len(letter.detail) == 2000
    assert await dead_letters.get(conn, letter.dead_letter_id) == letter
    assert await dead_letters.get(conn, -1) is None


async def test_a_dead_letter_is_decided_once(conn: asyncpg.Connection) -> None:
    records = [Record("t", 0, offset, 0, None, None, ()) for offset in range(3)]
    await dead_letters.insert(conn, [Refusal(record, None, f"r{record.offset % 2}", "") for record in records])
    ids = [letter.dead_letter_id for letter in await dead_letters.find(conn)]
    assert await dead_letters.decide(conn, ids[:2], "discarded") == 2
    assert await dead_letters.decide(conn, ids, "retried") == 1
    assert await dead_letters.count_open(conn) == 0
    assert [letter.dead_letter_id for letter in await dead_letters.find(conn, state="retried")] == ids[2:]
    assert [letter.dead_letter_id for letter in await dead_letters.find(conn, state=None, reason="r0")] == ids[::2]
