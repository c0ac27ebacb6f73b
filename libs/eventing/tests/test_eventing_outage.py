"""A broker that is killed and comes back, under load."""

import asyncio
from collections.abc import Iterator

import asyncpg
import pytest
from devstack import KafkaBroker, kafka
from eventing import outbox
from eventing.kafka import KafkaConfig
from eventing.relay import Relay
from eventing.testing import wait_until
from receiver import subscription_for
from stage import MakeTopic, assert_exactly, read_all, running, until_stored


@pytest.fixture
def kafka_broker() -> Iterator[KafkaBroker]:
    with kafka() as broker:
        yield broker


async def test_a_broker_killed_and_restarted_loses_nothing(
    kafka_broker: KafkaBroker, kafka: KafkaConfig, make_topic: MakeTopic, database_url: str, conn: asyncpg.Connection
) -> None:
    topic, out = await make_topic(partitions=4), await make_topic(partitions=4)
    await topic.publish_numbers(range(1, 1001))
    stop = asyncio.Event()
    relay = asyncio.create_task(Relay("receiver", database_url, kafka).run(stop))
    receiving = subscription_for(topic.name, pause_s=0.02, republish_to=out.name)
    async with running(kafka, database_url, receiving, batch_size=20):
        await until_stored(conn, 200)
        await asyncio.to_thread(kafka_broker.kill)
        await asyncio.to_thread(kafka_broker.restart)
        await topic.publish_numbers(range(1001, 1501))
        await until_stored(conn, 1500, timeout_s=60)

    async def all_published() -> bool:
        return (await outbox.depth(conn))[0] == 0

    await wait_until(all_published, timeout_s=60)
    stop.set()
    await asyncio.wait_for(relay, 20)
    await assert_exactly(conn, range(1, 1501))
    assert {int(record.value or b"") for record in await read_all(out)} == set(range(1, 1501))
