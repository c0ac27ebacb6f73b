"""The supervisor within the test, on a real broker and a real database."""

import asyncio
from collections.abc import Sequence

import asyncpg
from eventing import dead_letters, progress
from eventing.failures import Invalid
from eventing.kafka import KafkaConfig, open_producer
from eventing.records import Message, Partition, Record
from eventing.subscription import Decoded, Subscription
from eventing.testing import wait_until
from eventing.transaction import Transaction
from msgspec.structs import replace
from prometheus_client import REGISTRY
from receiver import decode_number, store, subscription_for
from stage import MakeTopic, Topic, assert_exactly, numbers, publish_unreadable, running, until_stored


async def test_a_rebalance_in_mid_batch_repeats_nothing(
    make_topic: MakeTopic, kafka: KafkaConfig, database_url: str, conn: asyncpg.Connection
) -> None:
    topic = await make_topic(partitions=2)
    await topic.publish_numbers(range(1, 201))
    in_mid_batch, go_on = asyncio.Event(), asyncio.Event()

    async def held(transaction: Transaction, events: Sequence[Decoded[int]]) -> None:
        await store(transaction, events)
        in_mid_batch.set()
        await go_on.wait()

    slow = Subscription(topic.name, frozenset({"test.numbered.v1"}), decode_number, held)
    async with running(kafka, database_url, slow, batch_size=200) as first:
        await asyncio.wait_for(in_mid_batch.wait(), 20)
        async with running(kafka, database_url, subscription_for(topic.name)) as second:
            await second.owns(1)  # and its batch waits for the row the first one has moved
            await _someone_waits_for_a_lock(conn)
            go_on.set()
            await until_stored(conn, 200)
            await first.owns(1)
            await topic.publish_numbers(range(201, 401))
            await until_stored(conn, 400)
    await assert_exactly(conn, range(1, 401))


async def _someone_waits_for_a_lock(conn: asyncpg.Connection) -> None:
    async def waits() -> bool:
        return bool(await conn.fetchval("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"))

    await wait_until(waits)


async def test_what_cannot_be_decoded_becomes_a_dead_letter_and_the_rest_flows(
    make_topic: MakeTopic, kafka: KafkaConfig, database_url: str, conn: asyncpg.Connection
) -> None:
    topic = await make_topic(partitions=1, max_message_bytes="2000000")
    good = topic.number(1)
    skipped = topic.number(0)
    unknown = Message(topic.name, b"k", b"1", tuple((n, b"other" if n == "ce_type" else v) for n, v in good.headers))
    broken = [
        replace(good, value=None),
        replace(good, headers=()),
        replace(good, value=b"\xff\0{"),
        replace(good, value=b"1" * 1_048_577),
        replace(good, headers=(*good.headers, ("na\0me", b"\0")), value=b"[]"),
        topic.number(-1),
        replace(topic.number(-1), headers=(*good.headers, ("x-trace", None))),
        replace(good, headers=tuple((n, None if n == "ce_id" else v) for n, v in good.headers)),
        replace(good, headers=(("content-type", b"application/cloudevents+json"),), value=b'{"data":' + b"[" * 20_000),
    ]
    keyless = Record(topic.name, 0, 0, 0, None, b"x", ())
    await topic.publish([good, *broken, keyless, skipped, unknown, topic.number(2)])
    async with running(kafka, database_url, subscription_for(topic.name)):
        await until_stored(conn, 2)
    await assert_exactly(conn, [1, 2])
    letters = await dead_letters.find(conn)
    assert [letter.reason for letter in letters] == [
        "no_value",
        "not_a_cloudevent",
        "no_number",
        "too_large",
        "no_number",
        "unknown_failure",
        "unknown_failure",
        "not_a_cloudevent",
        "not_a_cloudevent",
        "not_a_cloudevent",
    ]
    assert [letter.record.offset for letter in letters] == list(range(1, 11))
    assert [letter.record.value for letter in letters[:9]] == [message.value for message in broken]
    assert letters[-1].record.key is None
    assert ("x-trace", None) in letters[6].record.headers


async def test_a_record_in_another_partition_than_its_keys_is_taken_and_counted(
    make_topic: MakeTopic, kafka: KafkaConfig, database_url: str, conn: asyncpg.Connection
) -> None:
    topic = await make_topic(partitions=2)
    async with open_producer(kafka, "test") as producer:
        for number, partition in enumerate((0, 1), start=1):
            message = topic.number(number)
            headers = list(message.headers)
            await producer.send_and_wait(topic.name, message.value, message.key, partition, headers=headers)
    async with running(kafka, database_url, subscription_for(topic.name)):
        await until_stored(conn, 2)
    assert REGISTRY.get_sample_value("eventing_misplaced_records_total", {"topic": topic.name}) == 1


async def test_what_only_the_handler_can_refuse_is_tried_once(
    make_topic: MakeTopic, kafka: KafkaConfig, database_url: str, conn: asyncpg.Connection
) -> None:
    topic, refused = await make_topic(partitions=1), list[int]()

    async def choosy(transaction: Transaction, events: Sequence[Decoded[int]]) -> None:
        await store(transaction, events)
        if [event.value for event in events] == [2]:
            refused.append(2)
        if 2 in [event.value for event in events]:
            raise Invalid("no_twos", "2 is one too many")

    await topic.publish_numbers([1, 2, 3])
    async with running(
        kafka, database_url, Subscription(topic.name, frozenset({"test.numbered.v1"}), decode_number, choosy)
    ):
        await until_stored(conn, 2)
    await assert_exactly(conn, [1, 3])
    [letter] = await dead_letters.find(conn)
    assert (letter.reason, refused) == ("no_twos", [2])


async def _poison(conn: asyncpg.Connection, numbers: range) -> None:
    await conn.executemany("INSERT INTO poison VALUES ($1)", [(number,) for number in numbers])


async def test_a_poison_event_is_isolated_and_the_others_flow(
    make_topic: MakeTopic, kafka: KafkaConfig, database_url: str, conn: asyncpg.Connection
) -> None:
    topic = await make_topic(partitions=2)
    await _poison(conn, range(30, 32))
    await topic.publish_numbers(range(1, 101), keys=7)
    async with running(kafka, database_url, subscription_for(topic.name)):
        await until_stored(conn, 98)
        await _until_dead_letters(conn, 2)
    await assert_exactly(conn, set(range(1, 101)) - {30, 31})
    letters = await dead_letters.find(conn)
    assert {(letter.record.value, letter.reason) for letter in letters} == {
        (b"30", "unknown_failure"),
        (b"31", "unknown_failure"),
    }
    assert letters[0].detail == "RuntimeError: poison"


async def _until_dead_letters(conn: asyncpg.Connection, count: int) -> None:
    async def there() -> bool:
        return await dead_letters.count_open(conn) >= count

    await wait_until(there)


async def test_a_run_of_failures_pauses_the_partition_until_it_is_resumed(
    make_topic: MakeTopic, kafka: KafkaConfig, database_url: str, conn: asyncpg.Connection
) -> None:
    topic, other = await make_topic(partitions=1), Partition("", 0)
    await _poison(conn, range(11, 91))
    await topic.publish_numbers(range(1, 101))
    partition = other._replace(topic=topic.name)

    async def paused() -> bool:
        rows = await progress.load(conn, [partition])
        return rows[partition].paused_at is not None

    async with running(kafka, database_url, subscription_for(topic.name)):
        await wait_until(paused)
    # Stopped and started again: it stays paused, and no further event is drained into the dead letters.
    async with running(kafka, database_url, subscription_for(topic.name)) as worker:
        await worker.owns(1)
        await topic.publish_numbers(range(101, 111))
        assert await dead_letters.count_open(conn) == 3
        assert await progress.resume(conn, partition)
        await _until_dead_letters(conn, 6)
        await wait_until(paused)
        assert (await progress.load(conn, [partition]))[partition].next_offset == 16
        await conn.execute("DELETE FROM poison")
        assert await progress.resume(conn, partition)
        await until_stored(conn, 104)
    await assert_exactly(conn, [*range(1, 11), *range(17, 111)])


async def test_a_lost_database_session_only_delays(
    make_topic: MakeTopic, kafka: KafkaConfig, database_url: str, conn: asyncpg.Connection
) -> None:
    topic = await make_topic(partitions=2)
    await topic.publish_numbers(range(1, 301))
    async with running(kafka, database_url, subscription_for(topic.name, pause_s=0.05), batch_size=20):
        for stored in (20, 100, 200):
            await until_stored(conn, stored)
            await _terminate_worker(conn)
        await until_stored(conn, 300)
    await assert_exactly(conn, range(1, 301))
    assert await dead_letters.count_open(conn) == 0


async def _terminate_worker(conn: asyncpg.Connection) -> None:
    await conn.execute(
        """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
           WHERE application_name = 'receiver-worker' AND datname = current_database()"""
    )


async def test_a_committed_offset_of_the_group_is_never_where_reading_starts(
    make_topic: MakeTopic, kafka: KafkaConfig, database_url: str, conn: asyncpg.Connection
) -> None:
    topic = await make_topic(partitions=2)
    await topic.publish_numbers(range(1, 101))
    await _commit_the_end(topic)
    async with running(kafka, database_url, subscription_for(topic.name)):
        await until_stored(conn, 100)
    await assert_exactly(conn, range(1, 101))


async def _commit_the_end(topic: Topic) -> None:
    """As if the group had read everything."""
    from aiokafka import AIOKafkaConsumer, TopicPartition
    from eventing.log_ends import read_end_offsets

    ends = await read_end_offsets(topic.kafka, [topic.name])
    client = AIOKafkaConsumer(**topic.kafka.client_options("test"), group_id=topic.name, enable_auto_commit=False)
    client.assign([TopicPartition(*partition) for partition in ends])
    await client.start()
    await client.commit({TopicPartition(*partition): end for partition, end in ends.items()})
    await client.stop()


async def test_a_record_the_client_cannot_read_pauses_only_its_partition(
    make_topic: MakeTopic, kafka: KafkaConfig, database_url: str, conn: asyncpg.Connection
) -> None:
    topic = await make_topic(partitions=2)
    await topic.publish([_in(topic, 0, 1)])
    await publish_unreadable(topic, partition=0)
    await topic.publish(_in(topic, 1, number) for number in range(2, 102))
    async with running(kafka, database_url, subscription_for(topic.name), batch_size=10):
        await until_stored(conn, 100)

        async def paused() -> bool:
            return (await progress.load_all(conn))[0].paused_at is not None

        await wait_until(paused)
        await topic.publish([_in(topic, 1, 102)])
        await until_stored(conn, 101 + len(set(await numbers(conn)) & {1}))
    assert set(await numbers(conn)) | {1} == set(range(1, 103))
    assert "UnicodeDecodeError" in ((await progress.load_all(conn))[0].paused_reason or "")


def _in(topic: Topic, partition: int, number: int) -> Record:
    """Without a key, so it goes to that partition."""
    return Record(topic.name, partition, 0, 0, None, b"%d" % number, topic.number(number).headers)


async def test_two_lanes_post_other_partitions_at_the_same_time(
    make_topic: MakeTopic, kafka: KafkaConfig, database_url: str, conn: asyncpg.Connection
) -> None:
    topic = await make_topic(partitions=3)
    await topic.publish_numbers(range(1, 401))
    busy: list[set[int]] = []
    most = 0

    async def slowly(transaction: Transaction, events: Sequence[Decoded[int]]) -> None:
        nonlocal most
        mine = {decoded.event.record.partition for decoded in events}
        assert not any(mine & other for other in busy), "one partition in two lanes"
        busy.append(mine)
        most = max(most, len(busy))
        await store(transaction, events)
        await transaction.conn.execute("SELECT pg_sleep(0.01)")
        busy.remove(mine)

    slow = Subscription(topic.name, frozenset({"test.numbered.v1"}), decode_number, slowly)
    async with running(kafka, database_url, slow, batch_size=10):
        await until_stored(conn, 400)
    await assert_exactly(conn, range(1, 401))
    assert most == 2
