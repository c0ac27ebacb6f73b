"""Sends messages in batches and knows what the broker has acknowledged: nothing else counts as published.

The client's own `send` costs three times as much as all the rest of publishing an event. So the batches are filled
here, one per partition; the client ships them, one after the other in each partition, and so bounds what it holds.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.producer.message_accumulator import BatchBuilder
from eventing.kafka import KafkaConfig, open_producer
from eventing.publishing import key_hash
from eventing.records import Message

CLIENT_ID = "kundenclub-publish"
# A batch that is not full goes out after this time, so that lines of a pipe do not wait for more.
LINGER_S = 0.05
# What the largest topic takes. The broker's own refusal would come too late: the sequence numbers of an idempotent
# producer then have a gap.
LARGEST_MESSAGE_BYTES = 1_179_648 - 4_096

Refuse = Callable[[int, str], None]
"""Told the number of a message that was not taken, and why."""
Place = tuple[str, int]
"""Topic and number of a partition."""


@dataclass
class _Batch:
    builder: BatchBuilder
    numbers: list[int] = field(default_factory=list)

    def add(self, message: Message, number: int) -> bool:
        """False: it is full."""
        taken = self.builder.append(
            timestamp=None, key=message.key or None, value=message.value, headers=list(message.headers)
        )
        if taken is not None:
            self.numbers.append(number)
        return taken is not None


class Publisher:
    """Idempotent, acknowledged by all replicas, in order for each key. For one sender at a time."""

    def __init__(self, producer: AIOKafkaProducer, refuse: Refuse) -> None:
        self._producer = producer
        self._refuse = refuse
        self._filling: dict[Place, _Batch] = {}
        self._shipping = asyncio.Lock()
        self._under_way: set[asyncio.Future[object]] = set()
        self._keyless = itertools.count()
        self.acknowledged = 0

    async def send(self, message: Message, number: int) -> None:
        """Hand `message` over; slows down to the broker's pace. Its number is the sender's."""
        if _size(message) > LARGEST_MESSAGE_BYTES:
            self._refuse(number, f"the event has {_size(message):,} bytes, at most {LARGEST_MESSAGE_BYTES:,} are taken")
            return
        place = message.topic, await self._partition(message)
        batch = self._filling.get(place)
        if batch is not None and batch.add(message, number):
            return
        await self._ship(place)
        self._filling[place] = batch = _Batch(self._producer.create_batch())
        batch.add(message, number)

    async def flush(self) -> None:
        """Wait until everything sent is acknowledged or refused."""
        await self.ship_all()
        while self._under_way:
            await asyncio.wait(self._under_way)

    async def ship_all(self) -> None:
        """Let go of what is not full yet."""
        for place in list(self._filling):
            await self._ship(place)

    async def _ship(self, place: Place) -> None:
        async with self._shipping:  # else a newer batch could overtake one that waits for its partition
            batch = self._filling.pop(place, None)
            if batch is None:
                return
            topic, partition = place
            try:
                future = await self._producer.send_batch(batch.builder, topic, partition=partition)
            except KafkaError as error:
                self._refuse_all(batch, error)
                return
        self._under_way.add(future)
        future.add_done_callback(lambda done: self._settle(batch, done))

    def _settle(self, batch: _Batch, done: asyncio.Future[object]) -> None:
        self._under_way.discard(done)
        error = done.exception()
        if error is None:
            self.acknowledged += len(batch.numbers)
        else:
            self._refuse_all(batch, error)

    def _refuse_all(self, batch: _Batch, error: BaseException) -> None:
        for number in batch.numbers:
            self._refuse(number, str(error) or type(error).__name__)

    async def _partition(self, message: Message) -> int:
        """As Java's default partitioner chooses, and aiokafka's; without a key all in turn."""
        count = len(await self._producer.partitions_for(message.topic))
        return (key_hash(message.key) if message.key else next(self._keyless)) % count


@asynccontextmanager
async def open_publisher(kafka: KafkaConfig, refuse: Refuse) -> AsyncIterator[Publisher]:
    """A publisher on a started producer. Raises KafkaError when no broker answers."""
    async with open_producer(kafka, CLIENT_ID) as producer:
        publisher = Publisher(producer, refuse)
        lingering = asyncio.create_task(_linger(publisher))
        try:
            yield publisher
        finally:
            lingering.cancel()
            await asyncio.wait([lingering])


async def _linger(publisher: Publisher) -> None:
    while True:
        await asyncio.sleep(LINGER_S)
        await publisher.ship_all()


def _size(message: Message) -> int:
    headers = sum(len(name) + len(value or b"") for name, value in message.headers)
    return len(message.key) + len(message.value or b"") + headers
