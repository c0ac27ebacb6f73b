"""The worker as a process of its own, between a real broker and a real database, killed in mid-stream."""

import asyncio
import json
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from customer_status.audit.state import states
from customer_status.audit.verify import verify
from customer_status.events import (
    CONTACTS_TOPIC,
    CUSTOMER_STATUS_TOPIC,
    LOYALTY_TOPIC,
    READ_TOPICS,
)
from customer_status.worker import topics_of
from devstack import ServiceDatabase
from eventing.dead_letters import find
from eventing.envelope import new_message
from eventing.kafka import KafkaConfig, open_producer
from eventing.log_ends import read_end_offsets
from eventing.progress import load_all
from eventing.publishing import publish as send
from eventing.records import Record
from eventing.testing import as_record, wait_until
from eventing.topics import apply_topics
from msgspec.structs import replace
from programme.instants import parse_instant
from programme.state import state_of
from programme.terms import Programme
from programme.timeline import BASIS, Timeline, TimelineChanged, decode_timeline

NOW = "2026-11-22T00:00:00Z"
Start = Callable[[], Awaitable[asyncio.subprocess.Process]]


@pytest.fixture
async def kafka(kafka_broker: Any, contracts: Path) -> KafkaConfig:
    config = KafkaConfig(kafka_broker.bootstrap_servers)
    await apply_topics(config, topics_of(contracts))
    return config


@pytest.fixture
async def start_worker(kafka: KafkaConfig, database: ServiceDatabase, contracts: Path) -> AsyncIterator[Start]:
    started: list[asyncio.subprocess.Process] = []

    async def start() -> asyncio.subprocess.Process:
        settings = {
            "PATH": os.environ["PATH"],
            "CONTRACTS_DIR": str(contracts),
            "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "KAFKA_SESSION_TIMEOUT_MS": "3000",
            "CUSTOMER_STATUS_DATABASE_URL": database.app_url,
            "CUSTOMER_STATUS_WORKER_METRICS_PORT": "0",
            "CUSTOMER_STATUS_ERASURE_KEY": "ee" * 32,
            "CUSTOMER_STATUS_WORKER_CONTACTS_EVERY_S": "0.05",
            "LOG_LEVEL": "WARNING",
        }
        script = Path(sys.executable).with_name("customer-status")
        started.append(await asyncio.create_subprocess_exec(script, "worker", env=settings))
        return started[-1]

    yield start
    for process in started:
        if process.returncode is None:
            process.kill()
            await process.wait()


def year_of_shopping(feed: Any, rng: random.Random, prefix: str, members: int) -> list[Record]:
    """Purchases in any order, some returned, some sent twice, and everybody joining at some time."""
    records = []
    for member_id in [f"{prefix}-{number:03}" for number in range(members)]:
        records.append(feed.joined(member_id, "2025-01-01T00:00:00Z"))
        for number in range(rng.randint(1, 12)):
            day = f"2025-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}T10:00:00Z"
            cents = rng.choice((2_190, 30_000, 120_000))
            records.append(feed.purchase(member_id, f"{member_id}-p{number}", day, cents))
            if rng.random() < 0.2:
                returned = {"of": f"{member_id}-p{number}", "cents": rng.choice((1_000, 500_000))}
                records.append(feed.return_(member_id, f"{member_id}-r{number}", "2026-01-10T10:00:00Z", **returned))
    records += rng.sample(records, len(records) // 4)
    rng.shuffle(records)
    return records


async def publish(kafka: KafkaConfig, records: list[Record]) -> None:
    async with open_producer(kafka, "test") as producer:
        await send(producer, records)


async def read_to_the_end(kafka: KafkaConfig, conn: asyncpg.Connection) -> None:
    """Wait until the worker has read all there is and everything it had to say is published."""
    ends = await read_end_offsets(kafka, READ_TOPICS)

    async def at_the_end() -> bool:
        progress = {row.partition: row.next_offset for row in await load_all(conn)}
        waiting = await conn.fetchval("SELECT count(*) FROM outbox")
        return not waiting and all(progress.get(partition, 0) >= end for partition, end in ends.items())

    await wait_until(at_the_end, timeout_s=120)


async def everything_on(kafka: KafkaConfig, topic: str, prefix: str) -> list[tuple[bytes, bytes]]:
    """Keys and values of a topic, as a consumer reads them that begins at the beginning."""
    ends = await read_end_offsets(kafka, [topic])
    wanted = {TopicPartition(*partition): end for partition, end in ends.items() if end}
    found: list[tuple[bytes, bytes]] = []
    client = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap_servers, group_id=prefix, enable_auto_commit=False)
    await client.start()
    try:
        client.assign(list(wanted))
        await client.seek_to_beginning()
        while any([await client.position(partition) < end for partition, end in wanted.items()]):
            for records in (await client.getmany(timeout_ms=500)).values():
                found += [(record.key, record.value) for record in records]
    finally:
        await client.stop()
    return [(key, value) for key, value in found if key.startswith(prefix.encode())]


async def published_timelines(kafka: KafkaConfig, prefix: str) -> dict[str, Timeline]:
    """What a consumer that drops older versions ends up with."""
    newest: dict[str, TimelineChanged] = {}
    for key, value in await everything_on(kafka, CUSTOMER_STATUS_TOPIC, prefix):
        change = decode_timeline(value, key)
        known = newest.get(change.member_id)
        if known is None or (known.generation, known.events) < (change.generation, change.events):
            newest[change.member_id] = change
    return {member_id: change.steps for member_id, change in newest.items()}


async def test_a_worker_killed_in_mid_stream_ends_where_the_rules_say(
    kafka: KafkaConfig,
    start_worker: Start,
    conn: asyncpg.Connection,
    programme: Programme,
    feed: Any,
    facts_of: Callable[..., Any],
) -> None:
    prefix = f"w{os.urandom(4).hex()}"
    records = year_of_shopping(feed, random.Random(7), prefix, members=150)
    half = len(records) // 2
    first = await start_worker()
    await publish(kafka, records[:half])
    await wait_until(lambda: conn.fetchval("SELECT count(*) FROM purchase"), timeout_s=60)
    first.send_signal(signal.SIGKILL)
    await publish(kafka, records[half:])
    second = await start_worker()
    await read_to_the_end(kafka, conn)
    second.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(second.wait(), 30) == 0

    now_us = parse_instant(NOW)
    expected = {state.member_id: state for state in state_of(programme, facts_of(records), now_us)}
    found = {state.member_id: state async for state in states(conn, programme, None, None, now_us)}
    mine = {member_id: state for member_id, state in found.items() if member_id.startswith(prefix)}
    assert {member_id: state.digest for member_id, state in mine.items()} == {
        member_id: state.digest for member_id, state in expected.items()
    }
    timelines = await published_timelines(kafka, prefix)
    assert {member_id: timelines.get(member_id, BASIS) for member_id in expected} == {
        member_id: state.timeline for member_id, state in expected.items()
    }
    assert len(timelines) > 20
    joined = await conn.fetchval(
        "SELECT count(*) FROM member WHERE joined_at IS NOT NULL AND member_id LIKE $1 || '%'", prefix
    )
    assert joined == 150

    report = await verify(conn, programme, lambda: read_end_offsets(kafka, READ_TOPICS))
    assert report.is_clean, "\n".join(report.lines())


async def test_poison_becomes_a_dead_letter_and_the_others_flow(
    kafka: KafkaConfig, start_worker: Start, conn: asyncpg.Connection, feed: Any
) -> None:
    member_id = f"x{os.urandom(4).hex()}"
    good = feed.purchase(member_id, "p1", "2025-03-01T10:00:00Z", 100_000)
    poison = [
        replace(good, value=b"\xff{"),
        replace(good, value=None),
        replace(good, key=b"another"),
        replace(good, headers=()),
        feed.purchase(member_id, "p2", "2099-03-01T10:00:00Z", 100_000),
        feed.purchase(member_id, "p1", "2025-03-01T10:00:00Z", 7),
    ]
    await start_worker()
    await publish(kafka, [good])
    await publish(kafka, poison)
    await publish(kafka, [feed.purchase(member_id, "p3", "2025-03-02T10:00:00Z", 100)])
    await read_to_the_end(kafka, conn)
    mine = [letter for letter in await find(conn) if letter.record.key in (member_id.encode(), b"another")]
    assert sorted(letter.reason for letter in mine) == [
        "conflict",
        "in_the_future",
        "key_mismatch",
        "no_value",
        "not_a_cloudevent",
        "not_json",
    ]
    row = await conn.fetchrow("SELECT * FROM member WHERE member_id = $1", member_id)
    assert row is not None
    assert row["events"] == 2


def soon(type: str, member_id: str, event_no: int, **data: Any) -> Record:
    """An event of loyalty."""
    value = json.dumps({"member_id": member_id, "event_no": event_no} | data).encode()
    return as_record(new_message(LOYALTY_TOPIC, type=type, source="urn:test", key=member_id, data=value))


async def more_told(conn: asyncpg.Connection, number: int | None = None) -> None:
    """Wait until there are so many contacts, or one more than now."""
    wanted = number or await conn.fetchval("SELECT count(*) + 1 FROM contact")

    async def told() -> bool:
        return bool(await conn.fetchval("SELECT count(*) >= $1 FROM contact", wanted))

    await wait_until(told, timeout_s=60)


async def test_workers_killed_again_and_again_recommend_each_contact_once(
    kafka: KafkaConfig, start_worker: Start, conn: asyncpg.Connection, feed: Any, programme: Programme
) -> None:
    prefix = f"c{os.urandom(4).hex()}"
    members = [f"{prefix}-{number:02}" for number in range(20)]
    now = datetime.now(UTC)
    just_now, in_a_month = (now - timedelta(hours=1)).isoformat(), (now + timedelta(days=30)).isoformat()
    worker = await start_worker()
    await publish(kafka, [feed.joined(member_id, just_now) for member_id in members])
    await read_to_the_end(kafka, conn)
    for table, columns in (
        ("consent", "account_no, 'email', joined_at, true, '', joined_at, ''"),
        ("contact_watch", "account_no"),
    ):
        await conn.execute(f"INSERT INTO {table} SELECT {columns} FROM member WHERE member_id LIKE $1 || '%'", prefix)
    voucher = {"voucher_id": "0" * 32, "value_cents": 500, "valid_until": in_a_month}
    points = {"points": 1, "expires_at": in_a_month}
    for member_id in members:
        records = [
            feed.purchase(member_id, f"{member_id}-p", just_now, 100_000),
            soon("kundenclub.voucher.expiring-soon.v1", member_id, 1, **voucher),
            soon("kundenclub.points.expiring-soon.v1", member_id, 2, **points),
        ]
        await publish(kafka, records)
        if member_id in members[4::10]:
            await more_told(conn)
            worker.send_signal(signal.SIGKILL)
            await worker.wait()
            worker = await start_worker()
    await more_told(conn, 4 * len(members))
    await read_to_the_end(kafka, conn)
    contacts = [json.loads(value) for _, value in await everything_on(kafka, CONTACTS_TOPIC, prefix)]
    numbers = {contact["contact_no"]: (contact["member_id"], contact["kind"]) for contact in contacts}
    kinds = ("welcome", "promotion", "voucher_expiring", "points_expiring")
    assert sorted(numbers.values()) == sorted((member_id, kind) for member_id in members for kind in kinds)
    report = await verify(conn, programme, lambda: read_end_offsets(kafka, READ_TOPICS))
    assert report.is_clean, "\n".join(report.lines())
