"""Faults of the Kafka client that nothing but a new consumer mends, on brokers that answer with errors on demand."""

import asyncio
from collections.abc import Iterator

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer
from eventing.kafka import KafkaConfig
from eventing.metrics import REBUILDS
from eventing.publishing import publish as send
from eventing.testing import wait_until
from eventing.topics import TopicSpec
from mock_cluster import FETCH, HEARTBEAT, MockCluster, mock_cluster
from receiver import subscription_for
from stage import Topic, assert_exactly, running, until_stored


@pytest.fixture
def cluster() -> Iterator[MockCluster]:
    with mock_cluster(brokers=2) as cluster:
        yield cluster


@pytest.fixture
def kafka(cluster: MockCluster) -> KafkaConfig:
    return KafkaConfig(cluster.bootstrap_servers, session_timeout_ms=2_000)


@pytest.fixture
def topic(cluster: MockCluster, kafka: KafkaConfig) -> Topic:
    cluster.create_topic("faults", 2)
    return Topic(TopicSpec("faults", 2), kafka)


def rebuilds() -> float:
    return sum(s.value for m in REBUILDS.collect() for s in m.samples if s.name.endswith("_total"))


async def until_rebuilt(before: float) -> None:
    async def another_consumer_was_built() -> bool:
        return rebuilds() > before

    await wait_until(another_consumer_was_built)


async def publish(topic: Topic, numbers: range) -> None:
    """Without idempotence, which the mock cluster does not do well enough."""
    producer = AIOKafkaProducer(**topic.kafka.client_options("test"), acks="all")
    await producer.start()
    await send(producer, (topic.number(n, f"k{n % 20}") for n in numbers))
    await producer.stop()


@pytest.mark.parametrize("error", [14, 82, -1])
async def test_a_heartbeat_that_dies_is_replaced(
    error: int, topic: Topic, cluster: MockCluster, database_url: str, conn: asyncpg.Connection
) -> None:
    """14 is "loading", 82 "fenced", -1 "unknown": aiokafka ends its heartbeat for good on each of them."""
    before = rebuilds()
    await publish(topic, range(1, 101))
    async with running(topic.kafka, database_url, subscription_for(topic.name)) as worker:
        await worker.owns(2)
        await until_stored(conn, 100)
        cluster.answer_next(HEARTBEAT, error)
        await until_rebuilt(before)
        await publish(topic, range(101, 201))
        await until_stored(conn, 200)
    await assert_exactly(conn, range(1, 201))


async def test_a_dead_coordinator_is_waited_for(
    topic: Topic,
    cluster: MockCluster,
    database_url: str,
    conn: asyncpg.Connection,
    caplog: pytest.LogCaptureFixture,
) -> None:
    cluster.set_coordinator(topic.name, 2)
    await publish(topic, range(1, 101))
    async with running(topic.kafka, database_url, subscription_for(topic.name)) as worker:
        await worker.owns(2)
        await until_stored(conn, 100)
        cluster.set_down(2)

        async def noticed() -> bool:
            return "Group Coordinator Request failed" in caplog.text or "coordinator dead" in caplog.text

        await wait_until(noticed)
        cluster.set_up(2)
        await publish(topic, range(101, 201))
        await until_stored(conn, 200)
    await assert_exactly(conn, range(1, 201))


async def test_fetches_that_bring_nothing_while_the_log_goes_on_are_given_up(
    topic: Topic, cluster: MockCluster, database_url: str, conn: asyncpg.Connection
) -> None:
    before = rebuilds()
    async with running(topic.kafka, database_url, subscription_for(topic.name)) as worker:
        await worker.owns(2)
        cluster.answer_next(FETCH, *[9] * 20_000)  # "replica not available": the client logs it and fetches again
        await publish(topic, range(1, 101))
        await until_rebuilt(before)
        cluster.forget_errors(FETCH)
        await until_stored(conn, 100)
    await assert_exactly(conn, range(1, 101))


async def test_a_consumer_thrown_away_leaves_no_task_behind(
    topic: Topic, cluster: MockCluster, database_url: str, conn: asyncpg.Connection
) -> None:
    before, tasks = rebuilds(), asyncio.all_tasks()
    async with running(topic.kafka, database_url, subscription_for(topic.name)) as worker:
        await worker.owns(2)
        cluster.answer_next(HEARTBEAT, 14)
        await until_rebuilt(before)
    assert asyncio.all_tasks() == tasks
