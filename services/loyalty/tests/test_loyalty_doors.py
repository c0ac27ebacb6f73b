"""Closed by default: every route of the document, tried by who may not come in."""

from collections.abc import AsyncIterator

import asyncpg
import httpx
import pytest
from devstack import ServiceDatabase
from fastapi import FastAPI
from loyalty.main import build
from loyalty.scopes import SCOPES
from loyalty.settings import ApiSettings
from programme.terms import Programme
from pydantic import SecretStr
from webapi.testing import running
from webapi.testing_doors import doors, open_doors, scopes_of
from webapi.testing_issuer import AUDIENCE, ISSUER, serving

VOUCHER_KEYS, ERASURE_KEY = SecretStr("1:" + "42" * 32), SecretStr("ee" * 32)


@pytest.fixture
def app(database: ServiceDatabase, programme: Programme) -> FastAPI:
    settings = ApiSettings(database_url=database.app_url, voucher_keys=VOUCHER_KEYS, erasure_key=ERASURE_KEY)
    return build(settings, programme)


@pytest.fixture
async def client(database: ServiceDatabase, programme: Programme, app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with running(app) as client:
        yield client


async def test_nobody_comes_in_without_the_scope(
    database: ServiceDatabase, programme: Programme, conn: asyncpg.Connection
) -> None:
    with serving() as issuer:
        settings = ApiSettings(
            database_url=database.app_url,
            voucher_keys=VOUCHER_KEYS,
            erasure_key=ERASURE_KEY,
            development=True,  # the issuer of the test has no certificate
            jwt_issuer=ISSUER,
            jwt_audience=AUDIENCE,
            jwks_url=issuer.url,
            rate_limit_per_second=0,
        )
        app = build(settings, programme)
        async with running(app) as client:
            assert len(doors(app)) > 10
            assert await open_doors(app, client, conn, SCOPES) == []


def test_every_scope_that_a_route_needs_can_be_given(app: FastAPI) -> None:
    assert scopes_of(app) <= SCOPES.keys()


async def test_open_are_the_probes_and_in_production_nothing_else(client: httpx.AsyncClient) -> None:
    for path in ("/livez", "/readyz"):
        assert (await client.get(path)).status_code == 200
    for path in ("/", "/docs", "/docs/oauth2-redirect", "/redoc", "/openapi.json", "/metrics", "/v1"):
        assert (await client.get(path)).status_code == 404


async def test_sessions_of_requests_have_limits(app: FastAPI, client: httpx.AsyncClient) -> None:
    async with app.state.database.connection() as session:
        limits = [
            await session.fetchval(f"SHOW {name}")
            for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
        ]
    assert limits == ["30s", "10s", "30s"]


async def test_a_process_is_not_ready_on_an_older_schema(database: ServiceDatabase, client: httpx.AsyncClient) -> None:
    owner = await asyncpg.connect(database.owner_url)
    try:
        newest = await owner.fetchval("SELECT version_num FROM alembic_version")
        for version, status in (("20261122_terms", 503), ("29991231_later", 200), (newest, 200)):
            await owner.execute("UPDATE alembic_version SET version_num = $1", version)
            answer = await client.get("/readyz")
            assert answer.status_code == status, version
        await owner.execute("DELETE FROM alembic_version")
        assert "run migrate" in (await client.get("/readyz")).json()["detail"]
        await owner.execute("INSERT INTO alembic_version VALUES ($1)", newest)
    finally:
        await owner.close()
