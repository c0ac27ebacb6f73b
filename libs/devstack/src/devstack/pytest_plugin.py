"""Fixtures for tests that need real servers; nothing starts, and little is imported, before a test asks.

DEVSTACK_POSTGRES_URL (a superuser's) and DEVSTACK_KAFKA_BOOTSTRAP_SERVERS name servers to use instead of embedded ones.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from devstack.databases import Cluster, ServiceDatabase
    from devstack.kafka_broker import KafkaBroker

Prepare = Callable[["ServiceDatabase"], None]


class ExternalBroker(NamedTuple):
    """A Kafka that somebody else runs; it cannot be killed from here."""

    bootstrap_servers: str


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Cluster]:
    """One PostgreSQL for the session, without fsync."""
    from devstack import ExternalCluster, postgres

    if url := os.environ.get("DEVSTACK_POSTGRES_URL"):
        yield ExternalCluster(url)
    else:
        with postgres(fsync=False) as server:
            yield server


@pytest.fixture(scope="session")
def kafka_broker() -> Iterator[KafkaBroker | ExternalBroker]:
    """One Kafka broker for the session. Do not kill it: for that, a test runs its own with `devstack.kafka()`."""
    from devstack import kafka

    if servers := os.environ.get("DEVSTACK_KAFKA_BOOTSTRAP_SERVERS"):
        yield ExternalBroker(servers)
    else:
        with kafka() as broker:
            yield broker


class Databases:
    """Makes databases of their own for tests; prepared ones by copying one that was prepared once."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.templates: dict[tuple[str, Prepare], str] = {}

    def create(self, service: str, prepare: Prepare | None) -> tuple[str, ServiceDatabase]:
        template = self._template(service, prepare) if prepare is not None else "template1"
        return self._create(service, template)

    def _create(self, service: str, template: str) -> tuple[str, ServiceDatabase]:
        from devstack import create_service_database

        name = f"{service.replace('-', '_')}_{secrets.token_hex(6)}"
        return name, create_service_database(self.cluster, service, database=name, template=template)

    def _template(self, service: str, prepare: Prepare) -> str:
        key = (service, prepare)
        if key not in self.templates:
            name, database = self._create(service, "template1")
            self.templates[key] = name
            with ThreadPoolExecutor(1) as pool:  # so that `prepare` may run an event loop within an async test
                pool.submit(prepare, database).result()
        return self.templates[key]

    def close(self) -> None:
        for name in self.templates.values():
            self.cluster.drop_database(name)


@pytest.fixture(scope="session")
def _databases(postgres_server: Cluster) -> Iterator[Databases]:
    databases = Databases(postgres_server)
    yield databases
    databases.close()


@pytest.fixture
def service_database(_databases: Databases) -> Iterator[Callable[..., ServiceDatabase]]:
    """`service_database("loyalty", prepare=migrate)`: a database of its own, dropped after the test.

    `prepare(database)`, typically the migrations, runs once a session; each test gets a copy of its result.
    Works in plain and in async tests.
    """
    names: list[str] = []

    def create(service: str, prepare: Prepare | None = None) -> ServiceDatabase:
        name, database = _databases.create(service, prepare)
        names.append(name)
        return database

    yield create
    for name in names:
        _databases.cluster.drop_database(name)
