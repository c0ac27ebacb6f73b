"""What the README tells till teams is tried, on the broker that librdkafka brings along."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from aiokafka.partitioner import murmur2
from confluent_kafka import Consumer, Message, Producer
from eventing.envelope import read_event
from eventing.records import Record
from programme.facts import Purchase, accept
from programme.instants import parse_instant

CONTRACTS = Path(__file__).resolve().parents[1]
TOPIC = "kundenclub.purchases"


@pytest.fixture
def bootstrap_servers() -> Iterator[str]:
    cluster = Producer({"bootstrap.servers": "unused", "test.mock.num.brokers": 1})
    [broker] = cluster.list_topics(timeout=10).brokers.values()
    yield f"{broker.host}:{broker.port}"
    del cluster  # the broker lives as long as it does


def read_one(bootstrap_servers: str) -> Message:
    consumer = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": "a", "auto.offset.reset": "earliest"})
    consumer.subscribe([TOPIC])
    [message] = consumer.consume(1, timeout=30)
    consumer.close()
    return message


def test_the_example_in_the_readme_publishes_an_event_that_is_accepted(
    bootstrap_servers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", bootstrap_servers)
    monkeypatch.chdir(CONTRACTS.parent)
    [code] = re.findall(r"```python\n(.*?)```", (CONTRACTS / "README.md").read_text(), re.DOTALL)
    exec(code, {})

    message = read_one(bootstrap_servers)
    headers = cast(list[tuple[str, bytes]], message.headers())
    record = Record(TOPIC, 0, 0, 0, message.key(), message.value(), tuple(headers))
    event = read_event(record)
    purchase = accept(event.type, event.data, record.key, parse_instant("2026-11-22T12:00:00Z"))
    assert isinstance(purchase, Purchase)
    assert purchase.member_id == "M0001234"


def test_librdkafka_needs_the_setting_to_choose_the_partitions_of_java(bootstrap_servers: str) -> None:
    keys = [f"M{number}".encode() for number in range(50)]
    partitions = {name: chosen(bootstrap_servers, name, keys) for name in ("murmur2_random", "consistent_random")}
    count = 4  # what the built-in broker gives a topic
    javas = [(murmur2(key) & 0x7FFFFFFF) % count for key in keys]
    assert partitions["murmur2_random"] == javas
    assert partitions["consistent_random"] != javas


def chosen(bootstrap_servers: str, partitioner: str, keys: list[bytes]) -> list[int]:
    found: dict[bytes | None, int | None] = {}

    def delivered(_error: object, message: Message) -> None:
        found[message.key()] = message.partition()

    producer = Producer({"bootstrap.servers": bootstrap_servers, "partitioner": partitioner})
    for key in keys:
        producer.produce(TOPIC, key=key, value=b"{}", on_delivery=delivered)
    assert producer.flush(30) == 0
    return [found[key] or 0 for key in keys]
