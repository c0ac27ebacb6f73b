"""What the tests act with: topics with numbered events, worker processes, consumers within the test."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from eventing.backoff import Backoff
from eventing.batches import Poster
from eventing.database import Session
from eventing.envelope import new_message
from eventing.kafka import KafkaConfig, open_producer, stop_client
from eventing.log_ends import read_end_offsets
from eventing.publishing import publish
from eventing.records import Message, Record
from eventing.status import Status
from eventing.subscription import Subscription
from eventing.supervisor import Patience, Supervisor
from eventing.testing import wait_until
from eventing.topics import TopicSpec

RECEIVER = Path(__file__).with_name("receiver.py")
HASTY = Patience(stall_s=2, rebalance_s=10, resume_check_s=0.1, commit_s=0.2)


class Topic(NamedTuple):
    """A topic of one test."""

    spec: TopicSpec
    kafka: KafkaConfig

    @property
    def name(self) -> str:
        return self.spec.topic

    def number(self, number: int, key: str = "k") -> Message:
        return new_message(self.name, type="test.numbered.v1", source="/test", key=key, data=b"%d" % number)

    async def publish(self, messages: Iterable[Message | Record]) -> None:
        async with open_producer(self.kafka, "test") as producer:
            await publish(producer, messages)

    async def publish_numbers(self, numbers: Iterable[int], *, keys: int = 20) -> None:
        """One event for each number, spread over `keys` keys."""
        await self.publish(self.number(number, f"k{number % keys}") for number in numbers)


MakeTopic = Callable[..., Awaitable[Topic]]


class ReceiverProcess:
    """`receiver.py` as a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    @classmethod
    async def start(cls, **settings: object) -> "ReceiverProcess":
        arguments = [f"{name}={value}" for name, value in settings.items()]
        pipes = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.STDOUT}
        return cls(await asyncio.create_subprocess_exec(sys.executable, str(RECEIVER), *arguments, **pipes))  # type: ignore[arg-type]

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def ended(self) -> tuple[int, str]:
        """Its exit status and what it logged."""
        output, _ = await asyncio.wait_for(self.process.communicate(), 30)
        assert self.process.returncode is not None
        return self.process.returncode, output.decode()


StartReceiver = Callable[..., Awaitable[ReceiverProcess]]


@dataclass
class Running:
    """A supervisor at work within the test."""

    poster: Poster
    supervisor: Supervisor
    status: Status = field(default_factory=Status)
    task: "asyncio.Task[None] | None" = None

    async def owns(self, partitions: int) -> None:
        """Waits until that many partitions are assigned and positioned."""

        async def it_does() -> bool:
            assert self.task is not None
            if self.task.done():
                self.task.result()
            return len(self.poster.believed) == partitions

        await wait_until(it_does)


@contextlib.asynccontextmanager
async def running(
    kafka: KafkaConfig,
    database_url: str,
    subscription: Subscription[Any],
    *,
    batch_size: int = 50,
    patience: Patience = HASTY,
) -> AsyncIterator[Running]:
    """A supervisor with two connections of its own; ended as by SIGTERM."""
    stop, status, topics = asyncio.Event(), Status(), {subscription.topic: subscription}
    sessions = [Session(database_url, application_name="receiver-worker") for _ in range(2)]
    posters = [
        Poster(session, topics, single_attempts=2, failures_in_row_limit=3, backoff=Backoff(0.02, 0.2))
        for session in sessions
    ]
    supervisor = Supervisor(
        kafka, subscription.topic, topics, posters, batch_size=batch_size, status=status, patience=patience
    )
    run = Running(posters[0], supervisor, status)
    run.task = asyncio.create_task(supervisor.run(stop))
    try:
        yield run
    finally:
        stop.set()
        try:
            await asyncio.wait_for(run.task, 20)
        finally:
            for session in sessions:
                await session.close()


async def numbers(conn: asyncpg.Connection) -> list[int]:
    """What the receiver stored, in the order in which it did."""
    return [row["number"] for row in await conn.fetch("SELECT number FROM received ORDER BY receipt")]


async def until_stored(conn: asyncpg.Connection, count: int, timeout_s: float = 30.0) -> None:
    """Waits until at least `count` numbers are stored."""

    async def enough() -> bool:
        return bool(await conn.fetchval("SELECT count(*) FROM received") >= count)

    await wait_until(enough, timeout_s=timeout_s)


async def assert_exactly(conn: asyncpg.Connection, expected: Iterable[int]) -> None:
    """Nothing lost, nothing twice, and in order within each key."""
    assert sorted(await numbers(conn)) == sorted(expected)
    rows = await conn.fetch("SELECT key, array_agg(number ORDER BY receipt) AS numbers FROM received GROUP BY key")
    assert all(row["numbers"] == sorted(row["numbers"]) for row in rows), "order within a key"


async def read_all(topic: Topic) -> list[Record]:
    """Every record in the topic now, in log order per partition."""
    ends = await read_end_offsets(topic.kafka, [topic.name])
    client = AIOKafkaConsumer(
        topic.name, **topic.kafka.client_options("test"), group_id=None, auto_offset_reset="earliest"
    )
    records: list[Record] = []
    await client.start()
    while len(records) < sum(ends.values()):
        for fetched in (await client.getmany(timeout_ms=500)).values():
            records += [Record(r.topic, r.partition, r.offset, 0, r.key, r.value, r.headers) for r in fetched]
    await stop_client(client)
    return records


async def publish_unreadable(topic: Topic, *, partition: int) -> None:
    """A header name that is no UTF-8, as a producer in C may write it; aiokafka's own refuses to."""

    class Latin1(str):
        def encode(self, *_: object) -> bytes:
            return b"\xff\xfe"

    async with AIOKafkaProducer(**topic.kafka.client_options("test"), acks="all") as producer:
        batch = producer.create_batch()
        batch._builder = _DefaultRecordBatchBuilderPy(2, 0, 0, -1, -1, -1, 1_000)
        batch.append(timestamp=0, key=b"k0", value=b"1", headers=[(Latin1("name"), b"")])
        batch.close()
        await (await producer.send_batch(batch, topic.name, partition=partition))
