"""Tables computed anew from the log beside the live ones, for a service that adds up numbers by key."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import asyncpg
import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete
from devstack import ServiceDatabase
from eventing import dead_letters
from eventing.commands import Refused
from eventing.database import Connection, close, connect
from eventing.failures import Invalid
from eventing.kafka import KafkaConfig, open_admin, open_producer
from eventing.log_ends import read_end_offsets
from eventing.progress import load_all, skip
from eventing.rebuild import Rebuild
from eventing.rebuild_report import Difference, RebuildReport
from eventing.records import Message, Partition
from eventing.subscription import Decoded, Subscription
from eventing.testing import wait_until
from eventing.transaction import Transaction
from msgspec.structs import replace
from receiver import decode_number
from stage import MakeTopic, Topic, publish_unreadable, running

PARTITIONS = 3


async def add_up(transaction: Transaction, events: Sequence[Decoded[int]]) -> None:
    """Keeps the sum of the numbers of each key. Only the handler finds out that 13 is invalid; 666 it cannot bear."""
    for event, number in sorted(events, key=lambda decoded: decoded.event.record.key or b""):
        if number == 13:
            raise Invalid("unlucky", "13")
        if number == 666 and await transaction.conn.fetchval("SELECT count(*) FROM poison"):
            raise RuntimeError("a bug that was mended since")
        await transaction.conn.execute(
            """INSERT INTO account (key, version) VALUES ($1, $2)
               ON CONFLICT (key) DO UPDATE SET version = account.version + excluded.version""",
            (event.record.key or b"").decode(),
            number,
        )


class Sums:
    """What is compared and repaired."""

    async def keys_after(self, conn: Connection, key: str, limit: int) -> list[str]:
        rows = await conn.fetch('SELECT key FROM account WHERE key > $1 COLLATE "C" ORDER BY 1 LIMIT $2', key, limit)
        return [row["key"] for row in rows]

    async def differences(self, live: Connection, copies: Connection, keys: Sequence[str]) -> list[Difference]:
        kept, right = [await sums_of(conn) for conn in (live, copies)]
        return [
            Difference(key, "wrong sum" if key in right else "sum nobody sent", f"due {right.get(key, 0)}")
            for key in keys
            if kept.get(key, 0) != right.get(key, 0)
        ]

    async def repair(self, live: Connection, copies: Connection, keys: Sequence[str]) -> None:
        right = await sums_of(copies)
        await live.execute("DELETE FROM account WHERE key = ANY ($1)", keys)
        new = [(key, right[key]) for key in keys if key in right]
        await live.executemany("INSERT INTO account (key, version) VALUES ($1, $2)", new)


async def sums_of(conn: Connection) -> dict[str, int]:
    return {row["key"]: row["version"] for row in await conn.fetch("SELECT key, version FROM account")}


def subscription(topic: Topic) -> Subscription[int]:
    return Subscription(topic.name, frozenset({"test.numbered.v1"}), decode_number, add_up)


@dataclass
class Bench:
    """A topic, its live tables with a worker on them, and rebuilds."""

    topic: Topic
    kafka: KafkaConfig
    database: ServiceDatabase
    conn: asyncpg.Connection
    told: list[str] = field(default_factory=list)

    async def rebuild(
        self,
        *,
        apply: bool = False,
        others: Sequence[Topic] = (),
        records_together: int = 1,
        even_if_events_were_lost: bool = False,
    ) -> RebuildReport:
        run = Rebuild(
            service="receiver",
            owner_url=self.database.owner_url,
            kafka=self.kafka,
            subscriptions=[subscription(topic) for topic in (self.topic, *others)],
            sides=Sums(),
            apply=apply,
            tell=self.told.append,
            records_together=records_together,
            even_if_events_were_lost=even_if_events_were_lost,
        )
        return await run.run()

    async def damage(self, *statements: str) -> None:
        owner = await connect(self.database.owner_url, application_name="test")
        for statement in statements:
            await owner.execute(statement)
        await close(owner)

    async def publish_to(self, partition: int, message: Message) -> None:
        """As a producer with another partitioner does."""
        async with open_producer(self.kafka, "test") as producer:
            await producer.send_and_wait(
                message.topic, message.value, key=message.key, headers=list(message.headers), partition=partition
            )

    async def until_read(self) -> None:
        ends = await read_end_offsets(self.kafka, [self.topic.name])

        async def all_read() -> bool:
            progress = {row.partition: row.next_offset for row in await load_all(self.conn)}
            return all(progress.get(partition, 0) >= end for partition, end in ends.items())

        await wait_until(all_read)


@pytest.fixture
async def bench(
    make_topic: MakeTopic, kafka: KafkaConfig, database: ServiceDatabase, conn: asyncpg.Connection
) -> AsyncIterator[Bench]:
    """A live worker has read 300 numbers of 20 keys and goes on."""
    topic = await make_topic(partitions=PARTITIONS)
    await topic.publish_numbers(range(1000, 1300))
    async with running(kafka, database.app_url, subscription(topic)):
        bench = Bench(topic, kafka, database, conn)
        await bench.until_read()
        yield bench


async def test_while_the_worker_goes_on_nothing_differs(bench: Bench) -> None:
    publishing = asyncio.create_task(publish_many(bench.topic))
    reports = [await bench.rebuild() for _ in range(3)]
    reports.append(await bench.rebuild(apply=True))
    await publishing
    assert [report.total for report in reports] == [0] * 4
    assert reports[-1].events > 300
    assert reports[-1].keys == 20
    assert "rebuild" not in await schemas(bench.conn)


async def test_what_differs_is_told_and_repaired_while_the_worker_goes_on(bench: Bench) -> None:
    right = await sums_of(bench.conn)
    await bench.damage(
        "UPDATE account SET version = 7 WHERE key = 'k1'",
        "DELETE FROM account WHERE key = 'k2'",
        "INSERT INTO account VALUES ('nobody', 5)",
    )
    publishing = asyncio.create_task(publish_many(bench.topic))
    assert (await bench.rebuild()).total == 3
    report = await bench.rebuild(apply=True)
    assert [each.key for each in sorted(report.shown)] == ["k1", "k2", "nobody"]
    assert (report.total, report.repaired) == (3, 3)
    await publishing
    await bench.until_read()
    added = {f"k{key}": sum(number for number in MANY if number % 20 == key) for key in range(20)}
    assert await sums_of(bench.conn) == {key: version + added[key] for key, version in right.items()}
    assert (await bench.rebuild()).total == 0


async def test_what_was_refused_or_given_up_live_counts_no_more_than_there(bench: Bench) -> None:
    await bench.damage("INSERT INTO poison VALUES (666)")
    await bench.topic.publish(
        [
            bench.topic.number(13, "k1"),
            bench.topic.number(666, "k2"),
            replace(bench.topic.number(1, "k3"), value=b"no number"),
            bench.topic.number(-1, "k4"),
            bench.topic.number(2, "k5"),
        ]
    )
    await bench.until_read()
    await bench.damage("DELETE FROM poison")
    letters = await dead_letters.find(bench.conn)
    assert sorted(letter.reason for letter in letters) == [
        "no_number",
        "unknown_failure",
        "unknown_failure",
        "unlucky",
    ]
    assert (await bench.rebuild()).total == 0
    [given_up] = [letter for letter in letters if letter.record.value == b"666"]
    await bench.topic.publish([given_up.record])
    await dead_letters.decide(bench.conn, [given_up.dead_letter_id], "retried")
    await bench.until_read()
    assert (await bench.rebuild()).total == 0


@pytest.mark.parametrize("records_together", [1, 200, 1_000_000])
async def test_events_that_a_foreign_partitioner_put_elsewhere_count(bench: Bench, records_together: int) -> None:
    for partition in range(PARTITIONS):
        await bench.publish_to(partition, bench.topic.number(100 + partition, "k1"))
        await bench.publish_to(partition, bench.topic.number(100 + partition, f"only-in-{partition}"))
    await bench.until_read()
    report = await bench.rebuild(records_together=records_together)
    assert (report.total, report.keys, report.events) == (0, 23, 306)
    await bench.damage("UPDATE account SET version = version + 1 WHERE key IN ('k1', 'k2', 'only-in-0', 'only-in-1')")
    assert (await bench.rebuild(apply=True, records_together=records_together)).total == 4
    assert (await bench.rebuild(records_together=records_together)).total == 0


async def test_topics_with_other_numbers_of_partitions_are_read_together(
    bench: Bench, make_topic: MakeTopic, kafka: KafkaConfig
) -> None:
    other = await make_topic(partitions=2)
    await other.publish_numbers(range(1, 100))
    async with running(kafka, bench.database.app_url, subscription(other)):
        await Bench(other, kafka, bench.database, bench.conn).until_read()
    assert (await bench.rebuild(others=[other])).total == 0
    await bench.damage("UPDATE account SET version = 0 WHERE key = 'k3'")
    assert (await bench.rebuild(others=[other], apply=True)).total == 1
    assert (await bench.rebuild(others=[other])).total == 0


async def test_a_log_without_its_beginning_is_refused(bench: Bench, kafka: KafkaConfig) -> None:
    async with open_admin(kafka, "test") as admin:
        await admin.delete_records({TopicPartition(bench.topic.name, 1): RecordsToDelete(before_offset=3)})
    with pytest.raises(Refused, match=r"\[1\]: the log begins at offset 3"):
        await bench.rebuild()
    assert "rebuild" not in await schemas(bench.conn)


async def test_one_at_a_time_and_what_a_killed_one_left_is_cleared(bench: Bench) -> None:
    other = await connect(bench.database.owner_url, application_name="test")
    await other.execute("CREATE SCHEMA rebuild")
    await other.execute("CREATE TABLE rebuild.account (key text)")
    await other.fetchval("SELECT pg_advisory_lock(hashtextextended('rebuild', 0))")
    with pytest.raises(Refused, match="another rebuild"):
        await bench.rebuild()
    assert "rebuild" in await schemas(bench.conn)
    await close(other)  # as the death of its process does
    await wait_until(lambda: has_no_lock(bench.conn))
    assert (await bench.rebuild()).total == 0
    assert "rebuild" not in await schemas(bench.conn)


async def test_a_log_that_lost_events_is_not_taken_for_right(bench: Bench) -> None:
    await bench.damage("INSERT INTO account SELECT 'old-' || n, 1 FROM generate_series(1, 100) AS n")
    with pytest.raises(Refused, match="100 rows that nobody sent, beside 300 events"):
        await bench.rebuild(apply=True, records_together=1_000_000)
    assert len(await sums_of(bench.conn)) == 120
    report = await bench.rebuild(apply=True, even_if_events_were_lost=True)
    assert (report.wrong, report.repaired, report.is_right) == (100, 100, True)


async def test_a_topic_made_anew_is_noticed(bench: Bench) -> None:
    await bench.damage("UPDATE event_progress SET next_offset = 100000 WHERE partition = 0")
    with pytest.raises(Refused, match="but was read to 100000: was it made anew"):
        await bench.rebuild()


async def test_records_that_nobody_can_read_are_passed_over_as_the_worker_was_led_past_them(bench: Bench) -> None:
    await publish_unreadable(bench.topic, partition=0)
    partition = Partition(bench.topic.name, 0)

    async def paused() -> bool:
        return any(row.paused_at is not None for row in await load_all(bench.conn))

    await wait_until(paused)
    end = (await read_end_offsets(bench.kafka, [bench.topic.name]))[partition]
    assert await skip(bench.conn, partition, end)
    await bench.topic.publish_numbers(range(20, 40))
    await bench.until_read()
    assert (await bench.rebuild()).total == 0
    assert any(f"[0]: no record can be read at offset {end - 1}:" in line for line in bench.told)


def test_the_report_shows_the_first_of_each_key_and_counts_all() -> None:
    report = RebuildReport(keys=250, events=1000)
    report.add([Difference(f"k{number // 10}", "wrong sum" if number % 2 else "missing", "7") for number in range(300)])
    lines = list(report.lines("receiver rebuild"))
    assert lines[0] == "k0: missing: 7"
    assert [line.split(":")[0] for line in lines[:11]] == ["k0"] * 5 + ["k1"] * 5 + ["k2"]
    assert lines[100:] == [
        "... and 200 more",
        "receiver rebuild: 250 compared after 1,000 events, 300 differences of 30",
        "  missing: 150",
        "  wrong sum: 150",
    ]
    assert not report.is_right


MANY = range(2000, 5000)


async def publish_many(topic: Topic) -> None:
    for first in range(MANY.start, MANY.stop, 100):
        await topic.publish_numbers(range(first, first + 100))


async def schemas(conn: asyncpg.Connection) -> set[str]:
    return {row["nspname"] for row in await conn.fetch("SELECT nspname FROM pg_namespace")}


async def has_no_lock(conn: asyncpg.Connection) -> bool:
    held = "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database WHERE locktype = 'advisory' AND mode"
    return not await conn.fetchval(f"{held} = 'ExclusiveLock' AND datname = current_database() AND objsubid = 1")
