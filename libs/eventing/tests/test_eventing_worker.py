"""Whole worker processes on a real broker and a real database."""

import json
import signal

import asyncpg
from eventing import progress
from eventing.kafka import KafkaConfig, open_admin
from eventing.records import Partition
from eventing.testing import wait_until
from stage import MakeTopic, StartReceiver, assert_exactly, numbers, until_stored


async def test_a_worker_killed_in_mid_stream_loses_nothing_and_repeats_nothing(
    make_topic: MakeTopic, start_receiver: StartReceiver, conn: asyncpg.Connection
) -> None:
    topic = await make_topic(partitions=4)
    first, second = [await start_receiver(topic, pause_s=0.02, batch_size=20) for _ in range(2)]
    await topic.publish_numbers(range(1, 1001))
    await until_stored(conn, 200)
    first.send(signal.SIGKILL)
    await topic.publish_numbers(range(1001, 2001))
    await until_stored(conn, 2000)
    second.send(signal.SIGTERM)
    assert (await second.ended())[0] == 0
    await assert_exactly(conn, range(1, 2001))


async def test_a_worker_frozen_beyond_its_session_repeats_nothing_when_it_goes_on(
    make_topic: MakeTopic, start_receiver: StartReceiver, conn: asyncpg.Connection
) -> None:
    topic = await make_topic(partitions=4)
    frozen = await start_receiver(topic, pause_s=0.02, batch_size=20)
    await topic.publish_numbers(range(1, 1001))
    await until_stored(conn, 100)
    frozen.send(signal.SIGSTOP)
    await start_receiver(topic, batch_size=20)
    # What the frozen one holds locked is released by the end of its transaction, which the server puts one to.
    await conn.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle in transaction'")
    await until_stored(conn, 1000)
    frozen.send(signal.SIGCONT)
    await topic.publish_numbers(range(1001, 1501))
    await until_stored(conn, 1500)
    await assert_exactly(conn, range(1, 1501))


async def test_an_offset_that_the_log_no_longer_has_stops_the_worker(
    make_topic: MakeTopic, start_receiver: StartReceiver, conn: asyncpg.Connection, kafka: KafkaConfig
) -> None:
    topic = await make_topic(partitions=1)
    await topic.publish_numbers(range(1, 101))
    async with open_admin(kafka, "test") as admin:
        from aiokafka import TopicPartition
        from aiokafka.admin import RecordsToDelete

        await admin.delete_records({TopicPartition(topic.name, 0): RecordsToDelete(before_offset=60)})
    status, output = await (await start_receiver(topic, partitions=1)).ended()
    assert status == 1
    assert f"{topic.name}[0]: the next event to read has offset 0, but the log has only 60 to 100" in output
    assert "Traceback" not in output
    assert await numbers(conn) == []


async def test_what_a_topic_that_deletes_its_events_no_longer_has_is_passed_over(
    make_topic: MakeTopic, start_receiver: StartReceiver, conn: asyncpg.Connection, kafka: KafkaConfig
) -> None:
    topic = await make_topic(partitions=1)
    await topic.publish_numbers(range(1, 101))
    async with open_admin(kafka, "test") as admin:
        from aiokafka import TopicPartition
        from aiokafka.admin import RecordsToDelete

        await admin.delete_records({TopicPartition(topic.name, 0): RecordsToDelete(before_offset=60)})
    await start_receiver(topic, partitions=1, deletes="yes")
    await until_stored(conn, 40)
    assert await numbers(conn) == list(range(61, 101))


async def test_sigterm_finishes_the_batch_and_leaves_nothing(
    make_topic: MakeTopic, start_receiver: StartReceiver, conn: asyncpg.Connection
) -> None:
    topic = await make_topic(partitions=1)
    await topic.publish_numbers(range(1, 101))
    receiver = await start_receiver(topic, partitions=1, batch_size=10, pause_s=0.3)
    await until_stored(conn, 10)
    receiver.send(signal.SIGTERM)
    status, output = await receiver.ended()
    assert status == 0
    assert [json.loads(line)["event"] for line in output.splitlines()][-1] == "worker_finished"
    done = await numbers(conn)
    assert done == list(range(1, len(done) + 1))
    assert len(done) < 100
    stored = await progress.load(conn, [Partition(topic.name, 0)])
    assert stored[Partition(topic.name, 0)].next_offset == len(done)

    async def no_session_is_left() -> bool:
        return not await conn.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name <> 'test'"
        )

    await wait_until(no_session_is_left, timeout_s=5)
