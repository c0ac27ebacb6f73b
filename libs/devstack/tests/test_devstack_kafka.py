"""The embedded Kafka broker. The session's own is used where nothing is killed."""

import asyncio
import uuid
from pathlib import Path

import psutil
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from devstack import KafkaBroker, kafka

TOPIC = "things"
MEBIBYTE = 1024 * 1024


async def create_topic(broker: KafkaBroker, topic: str = TOPIC) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap_servers)
    await admin.start()
    try:
        response = await admin.create_topics([NewTopic(topic, num_partitions=2, replication_factor=1)])
        assert [error[1] for error in response.topic_errors] == [0]
    finally:
        await admin.close()


async def produce(broker: KafkaBroker, *values: bytes, topic: str = TOPIC) -> None:
    producer = AIOKafkaProducer(
        bootstrap_servers=broker.bootstrap_servers,
        acks="all",
        enable_idempotence=True,
        max_request_size=2 * MEBIBYTE,
    )
    await producer.start()
    try:
        for value in values:
            await producer.send_and_wait(topic, value, partition=0)
    finally:
        await producer.stop()


async def consume(broker: KafkaBroker, count: int, topic: str = TOPIC) -> list[bytes | None]:
    """By a group, which needs the feature levels of a properly formatted broker."""
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=broker.bootstrap_servers,
        group_id=uuid.uuid4().hex,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    await consumer.start()
    try:
        async with asyncio.timeout(30):
            return [(await consumer.getone()).value for _ in range(count)]
    finally:
        await consumer.stop()


async def test_a_group_reads_what_was_produced_up_to_a_mebibyte(kafka_broker: KafkaBroker) -> None:
    topic = f"things-{uuid.uuid4().hex}"
    await create_topic(kafka_broker, topic)
    await produce(kafka_broker, b"small", b"x" * MEBIBYTE, topic=topic)
    assert await consume(kafka_broker, 2, topic) == [b"small", b"x" * MEBIBYTE]


async def test_two_at_once_are_two_clusters(kafka_broker: KafkaBroker) -> None:
    with kafka() as other:
        await create_topic(other)
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka_broker.bootstrap_servers)
        await admin.start()
        try:
            assert TOPIC not in await admin.list_topics()
        finally:
            await admin.close()
        assert other.pid is not None
        process, folder = psutil.Process(other.pid), other.folder
    assert not process.is_running()
    assert not folder.exists()


async def test_killed_suspended_and_reopened_it_has_what_was_acknowledged(tmp_path: Path) -> None:
    data = tmp_path / "a folder for Müller"
    with kafka(data) as broker:
        await create_topic(broker)
        await produce(broker, b"1")
        address = broker.bootstrap_servers
        await asyncio.to_thread(broker.kill)
        await asyncio.to_thread(broker.restart)
        assert broker.bootstrap_servers == address
        broker.suspend()
        waiting = asyncio.create_task(produce(broker, b"2"))
        done, _ = await asyncio.wait([waiting], timeout=0.5)
        broker.resume()
        assert not done
        await waiting
    with kafka(data, heap_mb=320) as broker:
        assert await consume(broker, 2) == [b"1", b"2"]
