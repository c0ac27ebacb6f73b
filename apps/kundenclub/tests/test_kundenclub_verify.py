"""`kundenclub verify`: what counts as a difference, and that the check can fail."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import customer_status.migrate
import loyalty.migrate
import pytest
from devstack import KafkaBroker, ServiceDatabase, kafka
from eventing.kafka import KafkaConfig
from eventing.report import Report
from eventing.topics import apply_topics
from kundenclub.contracts import PURCHASES, read_topics
from kundenclub.databases import Databases, open_databases
from kundenclub.lines import to_message
from kundenclub.publisher import open_publisher
from kundenclub.verify import verify
from programme.terms import Programme, load_programme

CONTRACTS = Path(__file__).parents[3] / "contracts"
WAIT_S = 1.0


@pytest.fixture(scope="module")
def broker() -> Iterator[KafkaBroker]:
    """Its own: the ends of the real topics matter here, and other tests write to them."""
    with kafka() as running:
        yield running


@pytest.fixture
async def config(broker: KafkaBroker) -> KafkaConfig:
    config = KafkaConfig(broker.bootstrap_servers)
    await apply_topics(config, read_topics(CONTRACTS))
    return config


@pytest.fixture
def programme() -> Programme:
    return load_programme(CONTRACTS / "programme.toml")


@pytest.fixture
async def databases(service_database: Callable[..., ServiceDatabase]) -> AsyncIterator[Databases]:
    first = service_database("loyalty", prepare=_migrate_loyalty)
    second = service_database("customer-status", prepare=_migrate_customer_status)
    async with open_databases(first.app_url, second.app_url) as opened:
        yield opened


def _migrate_loyalty(database: ServiceDatabase) -> None:
    loyalty.migrate.upgrade(database.owner_url, database.app_url)


def _migrate_customer_status(database: ServiceDatabase) -> None:
    customer_status.migrate.upgrade(database.owner_url, database.app_url)


def _text(reports: list[Report]) -> str:
    return "\n".join(line for report in reports for line in report.lines())


async def test_two_empty_databases_agree(databases: Databases, config: KafkaConfig, programme: Programme) -> None:
    reports = await verify(databases, config, programme, WAIT_S)
    assert all(report.is_clean for report in reports), _text(reports)


async def test_a_member_only_one_service_knows_is_named_with_the_dead_letter_that_explains_it(
    databases: Databases, config: KafkaConfig, programme: Programme
) -> None:
    await databases.loyalty.execute("INSERT INTO account (member_id) VALUES ('M1'), ('M2')")
    await databases.customer_status.execute(
        """INSERT INTO member (member_id) VALUES ('M2');
           INSERT INTO dead_letter (topic, partition, record_offset, received_at, key, headers, reason, detail)
           VALUES ('kundenclub.purchases', 0, 7, now(), 'M1', '[]', 'unknown_failure', '')"""
    )
    reports = await verify(databases, config, programme, WAIT_S)
    text = _text(reports)
    assert not reports[-1].is_clean
    assert "members with equal digests in both services: 2 checked, 1 WRONG" in text
    assert "M1: loyalty: 0 purchases" in text
    assert "customer-status: unknown; likely cause: customer-status's dead letter 1 (unknown_failure)" in text


async def test_a_service_that_does_not_catch_up_is_told_after_a_bounded_wait(
    databases: Databases, config: KafkaConfig, programme: Programme
) -> None:
    async with open_publisher(config, lambda number, reason: pytest.fail(reason)) as publisher:
        await publisher.send(to_message(PURCHASES, "some.type", b'{"member_id": "M1"}'), 1)
        await publisher.flush()
    await databases.loyalty.execute("INSERT INTO account (member_id) VALUES ('M1')")
    reports = await verify(databases, config, programme, WAIT_S)
    text = _text(reports)
    assert not reports[-1].is_clean
    assert "loyalty is 1 events behind in kundenclub.purchases. Is its worker running?" in text
    assert "purchase events not handled yet: 2" in text
