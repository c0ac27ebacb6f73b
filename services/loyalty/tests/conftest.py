"""Fixtures of this service's tests: a migrated database, a worker's hand on it, and a checkout's."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from devstack import ServiceDatabase
from eventing.batches import Batch, Poster, judge
from eventing.database import Session
from eventing.envelope import new_message
from eventing.forgotten import Secret
from eventing.records import Message, Partition, Record
from httpx import ASGITransport, AsyncClient, Response
from loyalty import migrate
from loyalty.main import build
from loyalty.parameters import now_us
from loyalty.settings import ApiSettings
from loyalty.subscriptions import PURCHASES, subscriptions
from programme.facts import PURCHASE_COMPLETED, PURCHASE_RETURNED
from programme.instants import format_instant, parse_instant
from programme.terms import Programme, load_programme
from pydantic import SecretStr
from webapi import keys

CONTRACTS = Path(__file__).parents[3] / "contracts"
ERASURE_KEY = SecretStr("ee" * 32)
SECRET = Secret.parse(ERASURE_KEY.get_secret_value())
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
    by_topic = {subscription.topic: subscription for subscription in subscriptions(programme, SECRET)}
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
    {
        "members:read",
        "members:write",
        "vouchers:write",
        "vouchers:codes",
        "quotes:read",
        "adjustments:write",
        "members:erase",
        "operations:read",
    }
)


@pytest.fixture
async def api(database: ServiceDatabase, programme: Programme, conn: asyncpg.Connection) -> AsyncIterator[AsyncClient]:
    """A client of the HTTP process with a key that may do everything."""
    key = keys.new_key()
    await keys.create(conn, key, "tests", ALL_SCOPES)
    settings = ApiSettings(
        database_url=database.app_url, voucher_keys=SecretStr("1:" + "42" * 32), erasure_key=ERASURE_KEY
    )
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


BASKET = {"food": 2000}
MIDDAY_US = parse_instant("2026-11-22T11:00:00Z")


@dataclass
class Till:
    """A checkout and a till at an hour of the test's own."""

    api: AsyncClient
    feed: Post
    now_us: int = MIDDAY_US

    def later(self, *, minutes: int = 0, days: int = 0) -> None:
        """Time passes."""
        self.now_us += (minutes + days * 24 * 60) * 60_000_000

    async def bought(self, member_id: str, purchase_id: str, euros: int, *vouchers: str) -> None:
        """The event of a purchase of this moment arrives."""
        line = {"line": 1, "product_class": "goods", "quantity": 1, "amount_cents": euros * 100}
        await self._tell(PURCHASE_COMPLETED, member_id, purchase_id, {"lines": [line], "vouchers": list(vouchers)})

    async def gave_all_back(self, member_id: str, purchase_id: str) -> None:
        """The event of a complete return of this moment arrives."""
        more = {"return_id": f"r-{purchase_id}", "lines": [], "complete": True}
        await self._tell(PURCHASE_RETURNED, member_id, purchase_id, more)

    async def _tell(self, event_type: str, member_id: str, purchase_id: str, more: dict[str, Any]) -> None:
        data = {"member_id": member_id, "purchase_id": purchase_id, "currency": "EUR"} | more
        data["occurred_at"] = format_instant(self.now_us)
        encoded = json.dumps(data).encode()
        message = new_message(PURCHASES, type=event_type, source="urn:test", key=member_id, data=encoded)
        await self.feed(message, received_us=self.now_us)

    async def spend(self, member_id: str, key: str, reward: str = "voucher-5") -> Response:
        path, headers = f"/v1/members/{member_id}/rewards", {"Idempotency-Key": key}
        return await self.api.post(path, json={"reward": reward}, headers=headers)

    async def voucher(self, member_id: str, key: str = "order-1") -> tuple[str, str]:
        """The code and the id of a new voucher."""
        issued = (await self.spend(member_id, f"{member_id}-{key}")).json()
        return issued["code"], issued["voucher_id"]

    async def ask(
        self, what: str, code: str, purchase_id: str | None = None, basket: dict[str, int] | None = None
    ) -> Response:
        """Check, reserve, release, redeem or undo."""
        body: dict[str, Any] = {"code": code}
        if purchase_id is not None:
            body["purchase_id"] = purchase_id
        if what in ("reserve", "redeem"):
            body["cents_by_class"] = BASKET if basket is None else basket
        return await self.api.post(f"/v1/vouchers/{what}", json=body)

    async def tell(self, what: str, code: str, purchase_id: str | None = None) -> str:
        """The voucher's state after a call, or the code of its refusal."""
        answer = (await self.ask(what, code, purchase_id)).json()
        return str(answer["state"] if "state" in answer else answer["code"])

    async def balance(self, member_id: str) -> int:
        return int((await self.api.get(f"/v1/members/{member_id}")).json()["balance_points"])


@pytest.fixture
def till(api: AsyncClient, post: Post) -> Till:
    """A checkout over HTTP and a till's events, both at the till's own hour."""
    hand = Till(api, post)
    app: Any = api._transport.app  # type: ignore[attr-defined]  # the application behind the client
    app.dependency_overrides[now_us] = lambda: hand.now_us
    return hand
