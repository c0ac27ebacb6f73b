"""Many messages to the broker at once, in order per key, all acknowledged before the call returns."""

import asyncio
import functools
from collections import defaultdict
from collections.abc import Iterable, Sequence

from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError
from aiokafka.partitioner import murmur2

from eventing.records import Message, Partition, Record


async def publish(producer: AIOKafkaProducer, messages: Iterable[Message | Record]) -> None:
    """Sends every message to the partition of its key; a record without a key goes back to its own.

    Batches are built here, one after the other per partition: cheaper than the client's own path with its
    future per message. Raises KafkaError if one was not acknowledged; the others may have been.
    """
    counts: dict[str, int] = {}
    by_partition: defaultdict[Partition, list[Message | Record]] = defaultdict(list)
    for message in messages:
        if message.topic not in counts:
            counts[message.topic] = len(await producer.partitions_for(message.topic))
        by_partition[_partition(message, counts[message.topic])].append(message)
    await asyncio.gather(*[_publish_in_order(producer, *there) for there in by_partition.items()])


async def _publish_in_order(
    producer: AIOKafkaProducer, partition: Partition, messages: Sequence[Message | Record]
) -> None:
    acknowledged = []
    batch = producer.create_batch()
    for message in messages:
        if not _append(batch, message):
            acknowledged.append(await producer.send_batch(batch, partition.topic, partition=partition.number))
            batch = producer.create_batch()
            if not _append(batch, message):
                raise MessageSizeTooLargeError(f"{partition.topic}: a message does not fit in an empty batch")
    batch.close()  # so that it does not linger
    acknowledged.append(await producer.send_batch(batch, partition.topic, partition=partition.number))
    await asyncio.gather(*acknowledged)


def _append(batch: object, message: Message | Record) -> bool:
    """False if the batch is full; it is closed then."""
    appended: object = batch.append(  # type: ignore[attr-defined]
        timestamp=None, key=message.key, value=message.value, headers=list(message.headers)
    )
    return appended is not None


def _partition(message: Message | Record, partitions: int) -> Partition:
    if message.key is not None:
        return Partition(message.topic, key_hash(message.key) % partitions)
    assert isinstance(message, Record)
    return Partition(message.topic, message.partition)


@functools.lru_cache(maxsize=65_536)
def key_hash(key: bytes) -> int:
    """The hash of Java's default partitioner; aiokafka's is plain Python, and keys come again."""
    return int(murmur2(key)) & 0x7FFF_FFFF
