"""A service small enough to see through (`support/receiver.py`), with its database, topics and processes."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import asyncpg
import pytest
import sqlalchemy as sa
from devstack import ServiceDatabase
from eventing.database import close, connect
from eventing.kafka import KafkaConfig, open_admin
from eventing.logs import configure_logging
from eventing.tables import event_tables
from eventing.topics import TopicSpec, apply_topics
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

sys.path.append(str(Path(__file__).with_name("support")))

from stage import MakeTopic, ReceiverProcess, StartReceiver, Topic

OWN_TABLES = """
CREATE TABLE received (receipt bigint GENERATED ALWAYS AS IDENTITY, number int, key text, partition int);
CREATE TABLE poison (number int PRIMARY KEY);
CREATE TABLE account (key text PRIMARY KEY, version int NOT NULL DEFAULT 0);
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO receiver_app;
"""


def make_tables(database: ServiceDatabase) -> None:
    """The package's tables and the receiver's own; done once, then copied."""
    metadata, dialect = sa.MetaData(), postgresql.dialect()  # type: ignore[no-untyped-call]
    event_tables(metadata)
    ddl = [str(CreateTable(table).compile(dialect=dialect)) for table in metadata.sorted_tables]
    asyncio.run(_execute(database.owner_url, ";".join([*ddl, OWN_TABLES])))


async def _execute(url: str, statements: str) -> None:
    conn = await connect(url, application_name="make-tables")
    await conn.execute(statements)
    await close(conn)


@pytest.fixture(autouse=True, scope="session")
def _logs() -> None:
    configure_logging("json", "INFO")


@pytest.fixture
def database(service_database: Callable[..., ServiceDatabase]) -> ServiceDatabase:
    return service_database("receiver", prepare=make_tables)


@pytest.fixture
def database_url(database: ServiceDatabase) -> str:
    return database.app_url


@pytest.fixture
async def conn(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    conn = await connect(database_url, application_name="test")
    yield conn
    await close(conn)


@pytest.fixture
def kafka(request: pytest.FixtureRequest) -> KafkaConfig:
    broker = request.getfixturevalue("kafka_broker")
    return KafkaConfig(broker.bootstrap_servers, session_timeout_ms=3_000)


@pytest.fixture
async def make_topic(kafka: KafkaConfig, request: pytest.FixtureRequest) -> AsyncIterator[MakeTopic]:
    """`make_topic(partitions=4, message_timestamp_type="LogAppendTime")`."""
    made: list[str] = []

    async def make(partitions: int = 4, **config: str) -> Topic:
        name = f"{re.sub('[^a-z_]', '', request.node.name)[5:45]}-{os.urandom(4).hex()}"
        spec = TopicSpec(name, partitions, {key.replace("_", "."): value for key, value in config.items()})
        await apply_topics(kafka, [spec])
        made.append(name)
        return Topic(spec, kafka)

    yield make
    async with open_admin(kafka, "test") as admin:
        await admin.delete_topics(made)


@pytest.fixture
async def start_receiver(kafka: KafkaConfig, database_url: str) -> AsyncIterator[StartReceiver]:
    """`start_receiver(topic, pause_s=0.02)`: a worker process, killed at the end if it still runs."""
    started: list[ReceiverProcess] = []

    async def start(topic: Topic, **settings: object) -> ReceiverProcess:
        names = {"topic": topic.name, "kafka": kafka.bootstrap_servers, "database_url": database_url}
        started.append(await ReceiverProcess.start(**names, **settings))
        return started[-1]

    yield start
    for receiver in started:
        if receiver.process.returncode is None:
            receiver.send(signal.SIGKILL)
            await receiver.process.communicate()
