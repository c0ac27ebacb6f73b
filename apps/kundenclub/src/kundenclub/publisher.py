"""Sends messages and knows what the broker has acknowledged: nothing else counts as published."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.partitioner import murmur2
from eventing.kafka import KafkaConfig, open_producer
from eventing.records import Message

# The client itself waits for the broker only batch by batch; this bounds what it may hold in memory.
MOST_UNACKNOWLEDGED = 5_000
MOST_KNOWN_KEYS = 100_000
CLIENT_ID = "kundenclub-publish"

Refuse = Callable[[str], None]


class Publisher:
    """Idempotent and acknowledged by all replicas. Counts; `send` slows down to the broker's pace."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self._producer = producer
        self._unacknowledged = 0
        self._partitions: dict[tuple[str, bytes], int] = {}
        self._has_room, self._is_idle = asyncio.Event(), asyncio.Event()
        self._has_room.set()
        self.acknowledged = 0
        self.failed = 0

    async def send(self, message: Message, refuse: Refuse) -> None:
        """Hand `message` over; `refuse` is told later why, if the broker does not take it."""
        await self._has_room.wait()
        self._count(+1)
        try:
            future = await self._producer.send(
                message.topic,
                key=message.key or None,
                value=message.value,
                partition=await self._partition(message),
                headers=list(message.headers),
            )
        except KafkaError as error:
            self._settle(error, refuse)
            return
        future.add_done_callback(lambda done: self._settle(done.exception(), refuse))

    async def flush(self) -> None:
        """Wait until everything sent is acknowledged or refused."""
        await self._producer.flush()
        if self._unacknowledged:
            await self._is_idle.wait()

    async def _partition(self, message: Message) -> int | None:
        """Java's default partitioner, as the client has it, but remembered: hashing in Python is a sixth of the work."""
        if not message.key:
            return None
        known = self._partitions.get((message.topic, message.key))
        if known is None:
            if len(self._partitions) >= MOST_KNOWN_KEYS:
                self._partitions.clear()
            count = len(await self._producer.partitions_for(message.topic))
            known = (murmur2(message.key) & 0x7FFFFFFF) % count
            self._partitions[message.topic, message.key] = known
        return known

    def _settle(self, error: BaseException | None, refuse: Refuse) -> None:
        self._count(-1)
        if error is None:
            self.acknowledged += 1
        else:
            self.failed += 1
            refuse(str(error) or type(error).__name__)

    def _count(self, change: int) -> None:
        self._unacknowledged += change
        if self._unacknowledged == 0:
            self._is_idle.set()
        elif self._unacknowledged == 1:
            self._is_idle.clear()
        if self._unacknowledged < MOST_UNACKNOWLEDGED:
            self._has_room.set()
        else:
            self._has_room.clear()


@asynccontextmanager
async def open_publisher(kafka: KafkaConfig) -> AsyncIterator[Publisher]:
    """A publisher on a started producer. Raises KafkaError when no broker answers."""
    async with open_producer(kafka, CLIENT_ID) as producer:
        yield Publisher(producer)
