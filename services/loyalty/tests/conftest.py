"""Fixtures of this service's tests: a migrated database and a worker's hand on it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import asyncpg
import pytest
from devstack import ServiceDatabase
from eventing.batches import Batch, Poster, judge
from eventing.database import Session
from eventing.records import Message, Partition, Record
from httpx import ASGITransport, AsyncClient
from loyalty import migrate
from loyalty.main import build
from loyalty.settings import ApiSettings
from loyalty.subscriptions import subscriptions
from programme.instants import parse_instant
from programme.terms import Programme, load_programme
from pydantic import SecretStr
from webapi import keys

CONTRACTS = Path(__file__).parents[3] / "contracts"
STAMP_US = parse_instant("2099-12-31T00:00:00Z")


@pytest.fixture(scope="session")
def programme() -> Programme:
    """The terms of contracts/programme.toml."""
    return load_programme(CONTRACTS / "programme.toml")


def migrated(database: ServiceDatabase) -> None:
    """Prepare a database as `loyalty migrate` does."""
    migrate.upgrade(database.owner_url, database.app_url)


@pytest.fixture
def database(service_database: Callable[..., ServiceDatabase]) -> ServiceDatabase:
    """A migrated database of the test's own."""
    return service_database("loyalty", prepare=migrated)


@pytest.fixture
async def conn(database: ServiceDatabase) -> AsyncIterator[asyncpg.Connection]:
    """A connection as the application's role."""
    connection = await asyncpg.connect(database.app_url)
    yield connection
    await connection.close()


Post = Callable[..., Awaitable[None]]


@pytest.fixture
async def post(database: ServiceDatabase, programme: Programme, conn: asyncpg.Connection) -> AsyncIterator[Post]:
    """`await post(*messages)`: messages of one topic as one batch, the way a worker feeds them, without a broker.

    `received_us` is the log's stamp of all of them.
    """
    by_topic = {subscription.topic: subscription for subscription in subscriptions(programme)}
    for topic in by_topic:
        await conn.execute("INSERT INTO event_progress (topic, partition, next_offset) VALUES ($1, 0, 0)", topic)
    session = Session(database.app_url, application_name="test")
    poster = Poster(session, by_topic, believed={Partition(topic, 0): 0 for topic in by_topic})

    async def post(*messages: Message, received_us: int = STAMP_US) -> None:
        topic = messages[0].topic
        first = poster.believed[Partition(topic, 0)]
        records = [
            Record(topic, 0, first + n, received_us, message.key, message.value, message.headers)
            for n, message in enumerate(messages)
        ]
        await poster.post(Batch(topic, 0, [judge(by_topic[topic], record) for record in records]))

    yield post
    await session.close()


ALL_SCOPES = frozenset(
    {"members:read", "members:write", "vouchers:write", "vouchers:codes", "quotes:read", "adjustments:write"}
)


@pytest.fixture
async def api(database: ServiceDatabase, programme: Programme, conn: asyncpg.Connection) -> AsyncIterator[AsyncClient]:
    """A client of the HTTP process with a key that may do everything."""
    key = keys.new_key()
    await keys.create(conn, key, "tests", ALL_SCOPES)
    settings = ApiSettings(database_url=database.app_url, voucher_keys=SecretStr("1:" + "42" * 32))
    app = build(settings, programme)
    headers = {"Authorization": f"Bearer {key}"}
    async with (
        app.router.lifespan_context(app),
        AsyncClient(transport=ASGITransport(app), base_url="http://loyalty", headers=headers) as client,
    ):
        deadline = asyncio.get_running_loop().time() + 20
        while (await client.get("/readyz")).status_code != 200:
            assert asyncio.get_running_loop().time() < deadline, "not ready in time"
            await asyncio.sleep(0.02)
        yield client
