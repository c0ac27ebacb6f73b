"""`kundenclub publish` against a real broker: what is acknowledged is in the log, and what is not is told."""

import asyncio
import io
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.partitioner import DefaultPartitioner
from devstack import KafkaBroker
from eventing.kafka import KafkaConfig
from eventing.topics import TopicSpec, apply_topics
from kundenclub.processes import script_path
from kundenclub.publish import Outcome, opened, publish
from rich.console import Console

BOUGHT = "kundenclub.purchase.completed.v1"
PARTITIONS = 12


@pytest.fixture
async def topic(kafka_broker: KafkaBroker, tmp_path: Path) -> str:
    name = f"publish.{tmp_path.name}"
    await apply_topics(KafkaConfig(kafka_broker.bootstrap_servers), [TopicSpec(name, PARTITIONS)])
    return name


@pytest.fixture
def pipe() -> Iterator[tuple[BinaryIO, BinaryIO]]:
    end, beginning = os.pipe()
    with open(end, "rb") as stream, open(beginning, "wb", buffering=0) as pipe:
        yield stream, cast(BinaryIO, pipe)


async def _publish(lines: list[str], topic: str, broker: KafkaBroker, folder: Path) -> Outcome:
    file = folder / "events.jsonl"
    file.write_text("".join(f"{line}\n" for line in lines))
    with opened(str(file)) as stream:
        return await publish(
            stream, KafkaConfig(broker.bootstrap_servers), {BOUGHT: topic}, Console(file=io.StringIO())
        )


async def _read(topic: str, count: int, broker: KafkaBroker) -> list[Any]:
    consumer = AIOKafkaConsumer(bootstrap_servers=broker.bootstrap_servers, auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic, number) for number in range(PARTITIONS)])
        return [await anext(consumer) for _ in range(count)]
    finally:
        await consumer.stop()


async def test_events_arrive_as_cloudevents_in_their_members_partition(
    kafka_broker: KafkaBroker, topic: str, tmp_path: Path
) -> None:
    data = [{"purchase_id": f"p{number}", "member_id": f"M{number}", "text": "x" * 20_000} for number in range(200)]
    lines = [json.dumps({"type": BOUGHT, "data": each}) for each in data]
    outcome = await _publish(lines, topic, kafka_broker, tmp_path)
    assert (outcome.acknowledged, outcome.bad) == (200, [])
    partitioner = DefaultPartitioner()
    for record in await _read(topic, 200, kafka_broker):
        event, headers = json.loads(record.value), dict(record.headers)
        assert event in data
        assert record.key == headers["ce_partitionkey"] == event["member_id"].encode()
        assert record.partition == partitioner(record.key, list(range(PARTITIONS)), list(range(PARTITIONS)))
        assert headers["ce_type"] == BOUGHT.encode()


async def test_each_members_events_keep_their_order(kafka_broker: KafkaBroker, topic: str, tmp_path: Path) -> None:
    events = [{"member_id": f"M{number % 7}", "number": number, "text": "x" * 5_000} for number in range(1_000)]
    lines = [json.dumps({"type": BOUGHT, "data": event}) for event in events]
    assert (await _publish(lines, topic, kafka_broker, tmp_path)).acknowledged == 1_000
    numbers: dict[bytes, list[int]] = {}
    for record in await _read(topic, 1_000, kafka_broker):
        numbers.setdefault(record.key, []).append(json.loads(record.value)["number"])
    assert numbers == {f"M{member}".encode(): list(range(member, 1_000, 7)) for member in range(7)}


async def test_the_same_content_has_the_same_id_and_other_content_another(
    kafka_broker: KafkaBroker, topic: str, tmp_path: Path
) -> None:
    first, second = (json.dumps({"type": BOUGHT, "data": {"member_id": "M1", "n": n}}) for n in (1, 2))
    await _publish([first, first, second], topic, kafka_broker, tmp_path)
    ids = [dict(record.headers)["ce_id"] for record in await _read(topic, 3, kafka_broker)]
    assert ids[0] == ids[1] != ids[2]


async def test_an_event_without_a_member_has_no_key_and_its_bytes_are_left_alone(
    kafka_broker: KafkaBroker, topic: str, tmp_path: Path
) -> None:
    await _publish(
        [f'{{"type": "{BOUGHT}", "data": {{"amount":  1.50, "member_id": null}}}}'], topic, kafka_broker, tmp_path
    )
    [record] = await _read(topic, 1, kafka_broker)
    assert record.key is None
    assert record.value == b'{"amount":  1.50, "member_id": null}'
    assert "ce_partitionkey" not in dict(record.headers)


async def test_a_line_of_a_pipe_is_published_before_the_pipe_ends(
    kafka_broker: KafkaBroker, topic: str, pipe: tuple[BinaryIO, BinaryIO]
) -> None:
    config = KafkaConfig(kafka_broker.bootstrap_servers)
    publishing = asyncio.create_task(publish(pipe[0], config, {BOUGHT: topic}, Console(file=io.StringIO())))
    pipe[1].write(f'{{"type": "{BOUGHT}", "data": {{"member_id": "M1"}}}}\n'.encode())
    [record] = await asyncio.wait_for(_read(topic, 1, kafka_broker), 30.0)
    assert record.key == b"M1"
    assert not publishing.done()
    pipe[1].close()
    assert (await publishing).acknowledged == 1


async def test_nothing_at_all_is_published_at_once(kafka_broker: KafkaBroker, topic: str) -> None:
    """As cron and systemd start things: standard input is the null device."""
    config = KafkaConfig(kafka_broker.bootstrap_servers)
    with opened(os.devnull) as nothing:
        publishing = publish(nothing, config, {BOUGHT: topic}, Console(file=io.StringIO()))
        assert (await asyncio.wait_for(publishing, 30.0)).acknowledged == 0


async def test_bad_lines_are_named_and_the_others_are_published(
    kafka_broker: KafkaBroker, topic: str, tmp_path: Path
) -> None:
    good = json.dumps({"type": BOUGHT, "data": {"member_id": "M1"}})
    too_large = json.dumps({"type": BOUGHT, "data": {"member_id": "M1", "text": "x" * 1_200_000}})
    lines = [good, "", "no JSON", '{"type": "unheard.of", "data": {}}', '{"data": {}}', good, too_large]
    outcome = await _publish(lines, topic, kafka_broker, tmp_path)
    assert outcome.acknowledged == 2
    assert sorted(bad.number for bad in outcome.bad) == [3, 4, 5, 7]
    assert "unheard.of" in "\n".join(outcome.lines())


@pytest.mark.parametrize(
    ("environment", "file", "code", "told"),
    [
        ({}, "{file}", 2, "KAFKA_BOOTSTRAP_SERVERS: not set"),
        ({"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}, "{file}", 1, "no Kafka broker answers at 127.0.0.1:1"),
        ({"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}, "missing.jsonl", 1, "missing.jsonl"),
        ({"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "CONTRACTS_DIR": "nowhere"}, "{file}", 1, "nowhere/topics"),
    ],
)
def test_what_is_missing_is_told_in_one_line(
    environment: dict[str, str], file: str, code: int, told: str, tmp_path: Path
) -> None:
    (tmp_path / "events.jsonl").write_text("")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("KAFKA_", "CONTRACTS_"))}
    done = subprocess.run(
        [script_path("kundenclub"), "publish", file.format(file=tmp_path / "events.jsonl")],
        env={**inherited, "CONTRACTS_DIR": str(Path(__file__).parents[3] / "contracts"), **environment},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == code
    assert told in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
