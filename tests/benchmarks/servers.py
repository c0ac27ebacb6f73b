"""The embedded servers, tuned as the demo tunes them, and databases that are put back to one state before each run."""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import asyncpg
import psutil
from devstack import create_service_database, kafka, postgres
from devstack.postgres_server import PostgresServer
from eventing.kafka import KafkaConfig, open_producer
from eventing.log_ends import read_end_offsets
from eventing.publishing import publish
from eventing.records import Message
from eventing.topics import apply_topics
from kundenclub.contracts import CUSTOMER_STATUS, MEMBERS, PURCHASES, read_topics
from kundenclub.environment import Secrets, free_ports, service_environment
from kundenclub.stack import MAX_WAL_SIZE, SHARED_BUFFERS

CONTRACTS = Path(__file__).parents[2] / "contracts"
SERVICES = ("loyalty", "customer-status")
SERVICE_TOPICS = {"loyalty": (PURCHASES, CUSTOMER_STATUS), "customer-status": (PURCHASES, MEMBERS)}
PUBLISHED_AT_ONCE = 5_000


@dataclass(frozen=True)
class Servers:
    """Servers that run; `environment` is what the services' processes are told."""

    cluster: PostgresServer
    kafka: KafkaConfig
    environment: Mapping[str, str]

    @asynccontextmanager
    async def admin(self, database: str = "postgres") -> AsyncIterator[asyncpg.Connection]:
        """A superuser's connection, without limits."""
        conn = await asyncpg.connect(self.cluster.url(database))
        try:
            yield conn
        finally:
            await conn.close()

    async def publish(self, messages: Iterable[Message]) -> int:
        """Publish all; returns how many bytes of data they have."""
        left, size = iter(messages), 0
        async with open_producer(self.kafka, "benchmark") as producer:
            while some := list(islice(left, PUBLISHED_AT_ONCE)):
                await publish(producer, some)
                size += sum(len(message.value or b"") for message in some)
        return size

    async def keep_as(self, service: str, name: str) -> None:
        """Keep the service's database, which nobody may use meanwhile, for `reset`."""
        async with self.admin(database_of(service)) as conn:
            await conn.execute("VACUUM (FREEZE, ANALYZE)")
        async with self.admin() as conn:
            await _copy_database(conn, database_of(service), name)

    async def reset(self, service: str, kept: str, *, purchases_too: bool = False) -> None:
        """Put the service's database back to what `keep_as` kept; other topics, or all, are read from now on."""
        name = database_of(service)
        async with self.admin() as conn:
            await _copy_database(conn, kept, name)
        create_service_database(self.cluster, service)  # the roles' rights on it
        ends = await read_end_offsets(self.kafka, SERVICE_TOPICS[service])
        async with self.admin(name) as conn:
            await conn.executemany(
                """INSERT INTO event_progress (topic, partition, next_offset) VALUES ($1, $2, $3)
                   ON CONFLICT (topic, partition) DO UPDATE SET next_offset = excluded.next_offset""",
                [(*partition, end) for partition, end in ends.items() if purchases_too or partition.topic != PURCHASES],
            )
            await conn.execute("CHECKPOINT")

    def database_processes(self) -> list[psutil.Process]:
        """PostgreSQL's processes that run now."""
        server = psutil.Process(self.cluster.pid)
        return [server, *server.children()]

    async def purchases_end(self) -> int:
        """The records in the purchases topic."""
        return sum((await read_end_offsets(self.kafka, [PURCHASES])).values())


@asynccontextmanager
async def running_servers() -> AsyncIterator[Servers]:
    """Start both with temporary data and create topics and empty databases. Raises DevstackError, KafkaError."""
    with ExitStack() as stack:
        database = stack.enter_context(postgres(shared_buffers=SHARED_BUFFERS, max_wal_size=MAX_WAL_SIZE))
        broker = stack.enter_context(kafka())
        environment = service_environment(
            ports=free_ports(),
            kept_secrets=Secrets.new(),
            bootstrap_servers=broker.bootstrap_servers,
            loyalty=create_service_database(database, "loyalty"),
            customer_status=create_service_database(database, "customer-status"),
            contracts=CONTRACTS,
        )
        config = KafkaConfig(broker.bootstrap_servers)
        await apply_topics(config, read_topics(CONTRACTS))
        yield Servers(database, config, environment)


def database_of(service: str) -> str:
    """The name of its database."""
    return service.replace("-", "_")


async def _copy_database(conn: asyncpg.Connection, source: str, target: str) -> None:
    owner = await conn.fetchval(
        "SELECT quote_ident(rolname) FROM pg_database JOIN pg_roles r ON r.oid = datdba WHERE datname = $1", source
    )
    await conn.execute(f'DROP DATABASE IF EXISTS "{target}" WITH (FORCE)')
    await conn.execute(f'CREATE DATABASE "{target}" OWNER {owner} TEMPLATE "{source}" STRATEGY FILE_COPY')
