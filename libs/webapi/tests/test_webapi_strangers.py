"""What somebody without a credential can make the process do: little."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta

import asyncpg
import httpx
import pytest
from devstack.databases import ServiceDatabase
from fastapi import APIRouter, FastAPI
from prometheus_client import REGISTRY
from webapi import testing
from webapi.app import Safety
from webapi.auth import require
from webapi.database import Connection, Database
from webapi.keys import ApiKeys, create, lookup, new_key
from webapi.models import Model
from webapi.problems import Unavailable
from webapi.rates import Rate

Build = Callable[..., FastAPI]


class Thing(Model):
    size: int


router = APIRouter(dependencies=[require("things:write")])


@router.post("/v1/things/{size}")
async def add(size: int, thing: Thing) -> int:
    return size + thing.size


@pytest.fixture
async def client(build: Build) -> AsyncIterator[httpx.AsyncClient]:
    async with testing.running(build(router)) as client:
        yield client


JSON = {"content-type": "application/json"}


@pytest.mark.parametrize("content", [b'{"size":', b"[" * 100_000, b'{"size": "a"}', b"", b"\xff"])
async def test_their_bodies_are_not_even_parsed(client: httpx.AsyncClient, content: bytes) -> None:
    for headers in (JSON, JSON | {"X-API-Key": "lamp"}, {"X-API-Key": "lamp"}):
        answer = await client.post("/v1/things/x", content=content, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")


async def test_their_bodies_are_not_even_read(client: httpx.AsyncClient) -> None:
    sent = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(10):
            sent += 1
            yield b" " * 1_000

    assert (await client.post("/v1/things/1", content=body(), headers=JSON)).status_code == 401
    assert sent == 0


async def test_a_client_over_its_rate_is_told_before_its_body_is_read(
    build: Build, connection: asyncpg.Connection
) -> None:
    async with testing.running(build(router, safety=Safety(rate=Rate(0.01, 1)))) as client:
        headers = JSON | await testing.credential(connection, "things:write")
        statuses = [(await client.post("/v1/things/1", content=b"{", headers=headers)).status_code for _ in range(2)]
    assert statuses == [422, 429]


@pytest.mark.parametrize(
    "headers",
    [
        [("authorization", "Bearer {key}"), ("authorization", "Bearer lamp")],
        [("authorization", "Bearer lamp"), ("x-api-key", "{key}")],
        [("x-api-key", "{key}"), ("x-api-key", "{key}")],
        [("authorization", "Bearer {key}, Bearer {key}")],
    ],
)
async def test_one_credential_and_no_more(
    client: httpx.AsyncClient, connection: asyncpg.Connection, headers: list[tuple[str, str]]
) -> None:
    key = new_key()
    await create(connection, key, "shop", frozenset({"things:write"}))
    sent = [(name, value.format(key=key)) for name, value in headers]
    assert (await client.post("/v1/things/1", json={"size": 1}, headers=sent)).status_code == 401


async def test_failures_are_counted(client: httpx.AsyncClient) -> None:
    def counted() -> float:
        return REGISTRY.get_sample_value("http_authentication_failures_total") or 0.0

    before = counted()
    for headers in ({}, {"X-API-Key": "lamp"}, {"X-API-Key": str(new_key())}):
        await client.post("/v1/things/1", headers=headers)
    assert counted() == before + 3


async def test_a_key_ends(client: httpx.AsyncClient, connection: asyncpg.Connection) -> None:
    now = datetime.now(UTC)
    for expires_at, status in ((now + timedelta(minutes=1), 200), (now - timedelta(seconds=1), 401)):
        key = new_key()
        await create(connection, key, "shop", frozenset({"things:write"}), expires_at)
        answer = await client.post("/v1/things/1", json={"size": 1}, headers={"X-API-Key": str(key)})
        assert answer.status_code == status


async def test_many_unknown_keys_are_looked_up_together(
    database: ServiceDatabase, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One statement at a time, whatever strangers send; and who asks among them is known all the same."""
    statements: list[int] = []
    at_once = most_at_once = 0

    async def watched(connection: Connection, key_ids: set[str]) -> object:
        nonlocal at_once, most_at_once
        statements.append(len(key_ids))
        at_once += 1
        most_at_once = max(most_at_once, at_once)
        try:
            return await lookup(connection, key_ids)
        finally:
            at_once -= 1

    monkeypatch.setattr("webapi.keys.lookup", watched)

    async def open_pool() -> "asyncpg.Pool[asyncpg.Record]":
        return await asyncpg.create_pool(database.app_url, min_size=1, max_size=4)

    key = new_key()
    await create(connection, key, "shop", frozenset({"things:write"}))
    house = Database(open_pool)
    async with house.opened():
        keys = ApiKeys(house, cache_seconds=0)

        async def connected() -> bool:
            try:
                return await keys.authenticate(str(new_key())) is None
            except Unavailable:
                return False

        await testing.wait_for(connected)
        statements.clear()
        strangers = [keys.authenticate(str(new_key())) for _ in range(500)]
        found = await asyncio.gather(*strangers, keys.authenticate(str(key)))
    assert [caller.client for caller in found if caller] == ["shop"]
    assert sum(statements) == 501
    assert (len(statements) <= 3, most_at_once) == (True, 1)
