"""The outbox and its relay: nothing lost, order kept, one relay at a time."""

import asyncio
import contextlib
import random
import signal
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable

import asyncpg
import msgspec
import pytest
from eventing import outbox
from eventing.database import close, connect
from eventing.envelope import new_message
from eventing.failures import Invalid
from eventing.kafka import KafkaConfig
from eventing.records import Message, Record
from eventing.relay import Relay, RelayPace
from eventing.testing import wait_until
from stage import MakeTopic, StartReceiver, Topic, read_all

WRITERS = 8
KEYS = [f"k{n}" for n in range(40)]


@contextlib.asynccontextmanager
async def relaying(kafka: KafkaConfig, database_url: str, pace: RelayPace) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(Relay("receiver", database_url, kafka, pace).run(stop))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(task, 20)


async def write(database_url: str, topic: Topic, transactions: int, seed: int) -> None:
    """Transactions of two keys each: locks their rows in order, draws versions, stays open for a while, commits."""
    rng, conn = random.Random(seed), await connect(database_url, application_name="writer")
    for _ in range(transactions):
        async with conn.transaction():
            keys = sorted(rng.sample(KEYS, 2))
            await conn.executemany("INSERT INTO account (key) VALUES ($1) ON CONFLICT DO NOTHING", [(k,) for k in keys])
            messages = []
            for key in keys:
                version = await conn.fetchval(
                    "UPDATE account SET version = version + 1 WHERE key = $1 RETURNING version", key
                )
                messages.append(topic.number(version, key))
            await outbox.enqueue(conn, messages)
            await asyncio.sleep(rng.random() * 0.004)
    await close(conn)


async def until_empty(conn: asyncpg.Connection) -> None:
    async def empty() -> bool:
        return (await outbox.depth(conn))[0] == 0

    await wait_until(empty, timeout_s=60)


def versions_by_key(records: Iterable[Record]) -> dict[str, list[int]]:
    by_key = defaultdict(list)
    for record in records:
        by_key[(record.key or b"").decode()].append(int(record.value or b""))
    return by_key


def without_older(versions: list[int]) -> list[int]:
    """What a consumer keeps that drops whatever is not newer than what it has."""
    kept: list[int] = []
    for version in versions:
        if not kept or version > kept[-1]:
            kept.append(version)
    return kept


async def test_2400_rows_of_8_writers_are_all_published_in_the_order_of_their_keys(
    make_topic: MakeTopic, kafka: KafkaConfig, database_url: str, conn: asyncpg.Connection
) -> None:
    topic = await make_topic(partitions=4)
    async with relaying(kafka, database_url, RelayPace(rows_a_round=50)):
        await asyncio.gather(*[write(database_url, topic, 2400 // WRITERS, seed) for seed in range(WRITERS)])
        await until_empty(conn)
    by_key = versions_by_key(await read_all(topic))
    last = {row["key"]: row["version"] for row in await conn.fetch("SELECT * FROM account")}
    assert by_key == {key: list(range(1, version + 1)) for key, version in last.items()}


async def test_a_frozen_relay_loses_its_lock_to_the_next_one(
    make_topic: MakeTopic, start_receiver: StartReceiver, database_url: str, conn: asyncpg.Connection
) -> None:
    topic = await make_topic(partitions=4)
    first = await start_receiver(topic)
    holder = await _holder(conn)
    second = await start_receiver(topic)
    writing = asyncio.create_task(write(database_url, topic, 300, 1))
    await _until_published(topic, 100)
    first.send(signal.SIGSTOP)
    await writing
    await until_empty(conn)
    assert await _holder(conn) != holder
    first.send(signal.SIGCONT)
    await write(database_url, topic, 50, 2)
    await until_empty(conn)
    for receiver in (first, second):
        receiver.send(signal.SIGTERM)
        assert (await receiver.ended())[0] == 0
    last = {row["key"]: row["version"] for row in await conn.fetch("SELECT * FROM account")}
    by_key = versions_by_key(await read_all(topic))
    assert {key: without_older(versions) for key, versions in by_key.items()} == {
        key: list(range(1, version + 1)) for key, version in last.items()
    }


async def _holder(conn: asyncpg.Connection) -> int:
    """The session that holds the relay's lock."""
    pids: list[int] = []

    async def someone() -> bool:
        rows = await conn.fetch(
            """SELECT l.pid FROM pg_locks l JOIN pg_stat_activity a USING (pid)
               WHERE l.locktype = 'advisory' AND l.granted AND a.datname = current_database()"""
        )
        pids[:] = [row["pid"] for row in rows]
        return len(pids) == 1

    await wait_until(someone)
    return pids[0]


async def _until_published(topic: Topic, count: int) -> None:
    async def enough() -> bool:
        return len(await read_all(topic)) >= count

    await wait_until(enough)


async def test_tombstones_and_several_rows_a_round(
    make_topic: MakeTopic, kafka: KafkaConfig, database_url: str, conn: asyncpg.Connection
) -> None:
    topic = await make_topic(partitions=1)
    rows = [[topic.number(1)], [topic.number(2), Message(topic.name, b"k", None, ())], [topic.number(3)]]
    for row in rows:
        await outbox.enqueue(conn, row)
    async with relaying(kafka, database_url, RelayPace(messages_a_round=2)):
        await until_empty(conn)
    assert [record.value for record in await read_all(topic)] == [b"1", b"2", None, b"3"]


async def test_a_message_no_broker_takes_fails_the_change_and_not_the_relay(conn: asyncpg.Connection) -> None:
    message = Message("any", b"k", b"1" * outbox.MAX_MESSAGE_BYTES, ())
    with pytest.raises(Invalid, match="at most 1000000"):
        await outbox.enqueue(conn, [message])
    assert await outbox.depth(conn) == (0, 0.0)


async def test_what_messages_repeat_is_stored_once(conn: asyncpg.Connection) -> None:
    messages = [new_message("t", type="x.y.v1", source="urn:x", key=f"k{n}", data=b"{}") for n in range(100)]
    await outbox.enqueue(conn, messages)
    packed = await conn.fetchval("SELECT messages FROM outbox")
    assert outbox.unpack(packed) == messages
    assert len(packed) < len(msgspec.msgpack.encode(messages)) / 3


async def test_rows_of_an_earlier_version_are_published_too(
    make_topic: MakeTopic, kafka: KafkaConfig, database_url: str, conn: asyncpg.Connection
) -> None:
    """They are not compressed; an upgrade finds some that their writer's relay did not get to."""
    topic = await make_topic(partitions=1)
    for first in (0, 1):  # 1 to 15 messages and more begin with different bytes
        messages = [topic.number(n) for n in range(first * 10, first * 10 + 10 + first * 20)]
        packed = msgspec.msgpack.encode(messages)
        await conn.execute("INSERT INTO outbox (messages, message_count) VALUES ($1, $2)", packed, len(messages))
    await outbox.enqueue(conn, [topic.number(40)])
    async with relaying(kafka, database_url, RelayPace()):
        await until_empty(conn)
    assert [int(record.value or b"") for record in await read_all(topic)] == list(range(41))


async def test_nothing_to_publish_stores_nothing(conn: asyncpg.Connection) -> None:
    await outbox.enqueue(conn, [])
    assert await conn.fetchval("SELECT count(*) FROM outbox") == 0
