import asyncio
from collections.abc import Callable
from typing import Annotated, Any

import asyncpg
import pytest
from fastapi import APIRouter, Depends, FastAPI, WebSocket
from fastapi.staticfiles import StaticFiles
from webapi import testing
from webapi.app import build_app
from webapi.auth import BlockingDependency, Caller, OpenRoute, require
from webapi.database import RequestTransaction
from webapi.keys import ApiKeys, create, new_key, revoke

Build = Callable[..., FastAPI]

router = APIRouter()


@router.get("/v1/things")
async def read_things(caller: Annotated[Caller, require("things:read")]) -> dict[str, Any]:
    return {"client": caller.client, "subject": caller.subject, "scopes": sorted(caller.scopes)}


@router.post("/v1/things")
async def write_things(
    transaction: RequestTransaction, caller: Annotated[Caller, require("things:read", "things:write")]
) -> str:
    return caller.client


def uncached(database: Any) -> ApiKeys:
    return ApiKeys(database, cache_seconds=0)


def bearer(value: str) -> dict[str, str]:
    return {"Authorization": value}


async def test_who_may(build: Build, connection: asyncpg.Connection) -> None:
    key = new_key()
    await create(connection, key, "shop", frozenset({"things:read"}))
    async with testing.running(build(router)) as client:
        for headers in (bearer(f"Bearer {key}"), bearer(f"bearer {key}"), {"X-API-Key": str(key)}):
            answer = await client.get("/v1/things", headers=headers)
            assert answer.json() == {"client": "shop", "subject": None, "scopes": ["things:read"]}
        refused = await client.post("/v1/things", headers=headers)
    assert (refused.status_code, refused.json()["missing_scopes"]) == (403, ["things:write"])


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer"},
        {"Authorization": "Basic c2hvcDpzaG9w"},
        {"Authorization": "Bearer something else"},
        {"X-API-Key": ""},
        {"X-API-Key": "kc_unknown_" + "0" * 64},
        {"X-API-Key": "kc_\u0661\u0661\u0661\u0661_" + "0" * 64},
    ],
)
async def test_strangers(build: Build, headers: dict[str, str]) -> None:
    async with testing.running(build(router)) as client:
        raw = {name.encode(): value.encode() for name, value in headers.items()}
        answer = await client.get("/v1/things", headers=raw)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_wrong_secret(build: Build, connection: asyncpg.Connection) -> None:
    key = new_key()
    await create(connection, key, "shop", frozenset({"things:read"}))
    forged = key._replace(secret=new_key().secret)
    async with testing.running(build(router)) as client:
        right = await client.get("/v1/things", headers={"X-API-Key": str(key)})
        wrong = await client.get("/v1/things", headers={"X-API-Key": str(forged)})
    assert (right.status_code, wrong.status_code) == (200, 401)


@pytest.mark.parametrize(("authenticator", "afterwards"), [(uncached, 401), (ApiKeys, 200)])
async def test_a_revoked_key_lives_on_in_the_cache_only(
    build: Build, connection: asyncpg.Connection, authenticator: Any, afterwards: int
) -> None:
    key = new_key()
    await create(connection, key, "shop", frozenset({"things:read"}))
    async with testing.running(build(router, authenticator=authenticator)) as client:
        assert (await client.get("/v1/things", headers={"X-API-Key": str(key)})).status_code == 200
        assert await revoke(connection, key.key_id)
        assert (await client.get("/v1/things", headers={"X-API-Key": str(key)})).status_code == afterwards


async def test_the_cache_forgets(build: Build, connection: asyncpg.Connection) -> None:
    key = new_key()
    await create(connection, key, "shop", frozenset({"things:read"}))
    app = build(router, authenticator=lambda database: ApiKeys(database, cache_seconds=0.1))
    async with testing.running(app) as client:
        assert (await client.get("/v1/things", headers={"X-API-Key": str(key)})).status_code == 200
        await revoke(connection, key.key_id)

        async def refused() -> bool:
            return (await client.get("/v1/things", headers={"X-API-Key": str(key)})).status_code == 401

        await testing.wait_for(refused, timeout=5)


class OneBadge:
    """A way of authentication that the library does not know."""

    async def authenticate(self, credential: str) -> Caller | None:
        return Caller("desk", "clerk-7", frozenset({"things:read"})) if credential == "badge" else None


async def test_another_authenticator(build: Build) -> None:
    async with testing.running(build(router, authenticator=lambda database: OneBadge())) as client:
        known = await client.get("/v1/things", headers={"Authorization": "Bearer badge"})
        unknown = await client.get("/v1/things", headers={"Authorization": "Bearer lamp"})
    assert known.json()["subject"] == "clerk-7"
    assert unknown.status_code == 401


async def test_a_stranger_occupies_no_connection(build: Build) -> None:
    """With no connection to be had, who is unknown is told so; who is known is told that the database is away."""

    async def unreachable() -> "asyncpg.Pool[asyncpg.Record]":
        raise ConnectionRefusedError

    app = build(router, open_pool=unreachable, authenticator=lambda database: OneBadge())
    async with testing.started(app) as client:
        assert (await client.post("/v1/things", headers={"X-API-Key": "lamp"})).status_code == 401


async def echo(websocket: WebSocket) -> None:
    await websocket.accept()


async def come_in() -> str:
    return "come in"


def open_route(router: APIRouter) -> None:
    router.add_api_route("/v1/open", come_in, methods=["GET"])


def open_websocket(router: APIRouter) -> None:
    router.add_api_websocket_route("/v1/open", echo)


def open_plain_route(router: APIRouter) -> None:
    router.add_route("/v1/open", echo, methods=["GET"])  # type: ignore[arg-type]  # never called


def open_mount(router: APIRouter) -> None:
    router.mount("/v1/open", StaticFiles(check_dir=False))


def open_nested_route(router: APIRouter) -> None:
    inner = APIRouter()
    open_route(inner)
    router.include_router(inner, prefix="/v1/nested")


OPENINGS = [open_route, open_websocket, open_plain_route, open_mount, open_nested_route]


@pytest.mark.parametrize("make_opening", OPENINGS)
def test_an_application_with_an_open_route_cannot_be_built(make_opening: Callable[[APIRouter], None]) -> None:
    router = APIRouter()
    make_opening(router)
    with pytest.raises(OpenRoute, match="/v1/"):
        build_app(title="things", version="1", routers=[router], open_pool=never, development=True)


async def never() -> "asyncpg.Pool[asyncpg.Record]":
    raise AssertionError("an application must not connect before it is started")


# A mount that comes late is not refused, but neither does FastAPI serve it.
@pytest.mark.parametrize("make_opening", [opening for opening in OPENINGS if opening is not open_mount])
async def test_an_application_that_was_opened_since_cannot_start(
    build: Build, make_opening: Callable[[APIRouter], None]
) -> None:
    router = APIRouter()
    app = build(router)
    make_opening(router)
    with pytest.raises(OpenRoute, match="/v1/"):
        async with testing.started(app):
            pass


async def test_a_router_may_require_for_all_its_routes(build: Build, connection: asyncpg.Connection) -> None:
    closed = APIRouter(dependencies=[require("things:read")])
    open_route(closed)
    async with testing.running(build(closed)) as client:
        assert (await client.get("/v1/open")).status_code == 401
        client.headers.update(await testing.credential(connection, "things:read"))
        assert (await client.get("/v1/open")).json() == "come in"


def test_an_application_with_a_dependency_that_takes_a_thread_cannot_be_built() -> None:
    router = APIRouter(dependencies=[require("things:read"), Depends(lambda: 1)])
    router.add_api_route("/v1/slow", come_in, methods=["GET"])
    with pytest.raises(BlockingDependency, match="/v1/slow"):
        build_app(title="things", version="1", routers=[router], open_pool=never, development=True)


async def test_every_documented_operation_is_closed(build: Build) -> None:
    app = build(router)
    operations = [
        (method, path, operation)
        for path, methods in app.openapi()["paths"].items()
        for method, operation in methods.items()
    ]
    assert operations
    async with testing.running(app) as client:
        for method, path, operation in operations:
            assert [list(way) for way in operation["security"]] == [["bearer"], ["api_key"]], (method, path)
            assert all(scopes for way in operation["security"] for scopes in way.values()), (method, path)
            assert (await client.request(method, path)).status_code == 401


@pytest.mark.parametrize(("development", "status"), [(True, 200), (False, 404)])
async def test_docs_in_development_only(build: Build, development: bool, status: int) -> None:
    async with testing.started(build(router, development=development)) as client:
        answers = await asyncio.gather(*(client.get(path) for path in ("/docs", "/openapi.json")))
    assert [answer.status_code for answer in answers] == [status, status]
