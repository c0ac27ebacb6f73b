"""The worker process of the tests: `receiver.py topic=T kafka=HOST:PORT database_url=URL`.

Stores every number it is sent, so that one lost or stored twice shows; fails for numbers in the table `poison`.
"""

import asyncio
import sys
from collections.abc import Mapping, Sequence

import msgspec
from eventing.envelope import Event, new_message
from eventing.failures import Invalid
from eventing.kafka import KafkaConfig
from eventing.logs import configure_logging
from eventing.relay import RelayPace
from eventing.subscription import Decoded, Subscription
from eventing.supervisor import Patience
from eventing.topics import TopicSpec
from eventing.transaction import Transaction
from eventing.worker import WorkerConfig, main


def decode_number(event: Event) -> int | None:
    """Zero is skipped, what is no number is invalid, and -1 finds a bug."""
    try:
        number = msgspec.json.decode(event.data, type=int)
    except msgspec.DecodeError as error:
        raise Invalid("no_number", str(error)) from None
    if number == -1:
        raise ZeroDivisionError("a bug in decode")
    return number or None


async def store(transaction: Transaction, events: Sequence[Decoded[int]]) -> None:
    """Stores the numbers in order, unless one of them is poison."""
    numbers = [decoded.value for decoded in events]
    if await transaction.conn.fetchval("SELECT count(*) FROM poison WHERE number = ANY($1)", numbers):
        raise RuntimeError("poison")
    records = [decoded.event.record for decoded in events]
    await transaction.conn.executemany(
        "INSERT INTO received (number, key, partition) VALUES ($1, $2, $3)",
        [(n, (r.key or b"").decode(), r.partition) for n, r in zip(numbers, records, strict=True)],
    )


def subscription_for(
    topic: str, *, pause_s: float = 0.0, republish_to: str | None = None, deletes: bool = False
) -> Subscription[int]:
    async def apply(transaction: Transaction, events: Sequence[Decoded[int]]) -> None:
        await store(transaction, events)
        await asyncio.sleep(pause_s)
        for event, number in events:
            if republish_to is not None:
                key, data = (event.record.key or b"").decode(), b"%d" % number
                transaction.publish(new_message(republish_to, type=event.type, source="/receiver", key=key, data=data))

    return Subscription(topic, frozenset({"test.numbered.v1"}), decode_number, apply, deletes=deletes)


def run(settings: Mapping[str, str]) -> None:
    configure_logging("json")
    topic = settings["topic"]
    config = WorkerConfig(
        service=settings.get("service", topic),
        database_url=settings["database_url"],
        kafka=KafkaConfig(settings["kafka"], session_timeout_ms=3_000),
        topics=[TopicSpec(topic, int(settings.get("partitions", 4)))],
        metrics_port=int(settings.get("metrics_port", 0)),
        batch_size=int(settings.get("batch_size", 50)),
        single_attempts=2,
        failures_in_row_limit=3,
        patience=Patience(stall_s=5, rebalance_s=15, resume_check_s=0.2, commit_s=0.5),
        relay_pace=RelayPace(take_over_s=0.2, ping_s=0.5, idle_session_timeout_s=2.0),
    )
    pause_s, republish_to = float(settings.get("pause_s", 0)), settings.get("republish_to")
    deletes = settings.get("deletes") == "yes"
    main(config, [subscription_for(topic, pause_s=pause_s, republish_to=republish_to, deletes=deletes)])


if __name__ == "__main__":
    run(dict(argument.split("=", 1) for argument in sys.argv[1:]))
