"""Fixtures for tests that need real servers; nothing starts, and little is imported, before a test asks.

DEVSTACK_POSTGRES_URL (a superuser's) and DEVSTACK_KAFKA_BOOTSTRAP_SERVERS name servers to use instead of embedded ones.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from devstack.databases import Cluster, ServiceDatabase
    from devstack.forked_scripts import ForkedScripts
    from devstack.fresh_databases import FreshDatabases, Prepare
    from devstack.kafka_broker import KafkaBroker


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


@pytest.fixture(scope="session")
def _databases(postgres_server: Cluster) -> Iterator[FreshDatabases]:
    from devstack.fresh_databases import FreshDatabases

    databases = FreshDatabases(postgres_server)
    yield databases
    databases.close()


@pytest.fixture(scope="session")
def scripts() -> Iterator[ForkedScripts]:
    """`scripts.run("loyalty", "state", env=..., timeout=60)`: a console script in a process of its own, quickly."""
    from devstack.forked_scripts import ForkedScripts

    scripts = ForkedScripts()
    yield scripts
    scripts.close()


@pytest.fixture
def service_database(_databases: FreshDatabases) -> Iterator[Callable[..., ServiceDatabase]]:
    """`service_database("loyalty", prepare=migrate)`: a database of its own, gone after the test.

    `prepare(database)`, typically the migrations, runs once a session; each test gets its result, untouched by others.
    Works in plain and in async tests.
    """
    names: list[str] = []

    def create(service: str, prepare: Prepare | None = None) -> ServiceDatabase:
        name, database = _databases.take(service, prepare)
        names.append(name)
        return database

    yield create
    for name in names:
        _databases.give_back(name)
