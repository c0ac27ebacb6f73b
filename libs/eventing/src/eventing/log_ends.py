"""Where the log ends now, asked of the brokers."""

from collections.abc import Iterable

from aiokafka import AIOKafkaConsumer

from eventing.kafka import KafkaConfig, stop_client
from eventing.records import Partition


async def read_end_offsets(kafka: KafkaConfig, topics: Iterable[str]) -> dict[Partition, int]:
    """The offset after the last readable record of every partition of `topics`. Raises KafkaError."""
    client = AIOKafkaConsumer(
        *topics,
        **kafka.client_options("log-ends"),
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="none",
        isolation_level="read_committed",
    )
    try:
        await client.start()
        ends = await client.end_offsets(client.assignment())
        return {Partition(tp.topic, tp.partition): end for tp, end in ends.items()}
    finally:
        await stop_client(client)
