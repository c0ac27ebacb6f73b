import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import httpx
import pytest
import structlog
from devstack.databases import ServiceDatabase
from fastapi import APIRouter, FastAPI
from webapi import testing
from webapi.auth import require
from webapi.database import Connection, RequestSnapshot, RequestTransaction
from webapi.models import Model
from webapi.probes import NotReady
from webapi.problems import Problem

Build = Callable[..., FastAPI]
POOL_SIZE = 4


class Thing(Model):
    thing_id: str
    size: int


class TooSmall(Problem):
    status = 409
    code = "too_small"
    title = "There is no such size"


def make_router(gate: testing.Gate) -> APIRouter:
    router = APIRouter(dependencies=[require("things:write")])

    @router.post("/v1/things", status_code=201)
    async def add(thing: Thing, transaction: RequestTransaction) -> str:
        await transaction.execute("INSERT INTO thing VALUES ($1, $2)", thing.thing_id, thing.size)
        if thing.size < 0:
            raise TooSmall("it must be 0 at least")
        return "added"

    @router.get("/v1/counts")
    async def count_twice(snapshot: RequestSnapshot) -> list[int]:
        before = await snapshot.fetchval("SELECT count(*) FROM thing")
        await gate.pass_through()
        return [before, await snapshot.fetchval("SELECT count(*) FROM thing")]

    @router.get("/v1/writing-snapshot")
    async def write_in_snapshot(snapshot: RequestSnapshot) -> None:
        await snapshot.execute("INSERT INTO thing VALUES ('s', 1)")

    @router.get("/v1/hold")
    async def hold(transaction: RequestTransaction) -> None:
        await gate.pass_through()

    @router.get("/v1/failing/{state}")
    async def fail(state: str, transaction: RequestTransaction) -> None:
        await transaction.execute(f"DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '{state}'; END $$")

    @router.get("/v1/slow")
    async def run_long(transaction: RequestTransaction) -> None:
        await transaction.execute("SET LOCAL statement_timeout = '20ms'")
        await transaction.execute("SELECT pg_sleep(60)")

    @router.get("/v1/cut-off")
    async def cut_off(transaction: RequestTransaction) -> None:
        await transaction.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    @router.get("/v1/misuse")
    async def misuse(transaction: RequestTransaction) -> None:
        await transaction.execute("SELECT $1::int")

    return router


@pytest.fixture
def gate() -> testing.Gate:
    return testing.Gate()


@pytest.fixture
async def client(build: Build, connection: asyncpg.Connection, gate: testing.Gate) -> AsyncIterator[httpx.AsyncClient]:
    async with testing.running(build(make_router(gate))) as client:
        client.headers.update(await testing.credential(connection, "things:write"))
        yield client


async def things(connection: asyncpg.Connection) -> list[str]:
    return [row["thing_id"] for row in await connection.fetch("SELECT thing_id FROM thing ORDER BY 1")]


async def test_a_success_is_committed_and_a_refusal_is_not(
    client: httpx.AsyncClient, connection: asyncpg.Connection
) -> None:
    added = await client.post("/v1/things", json={"thing_id": "a", "size": 1})
    refused = await client.post("/v1/things", json={"thing_id": "b", "size": -1})
    assert (added.status_code, refused.status_code) == (201, 409)
    assert await things(connection) == ["a"]


async def test_a_commit_that_fails_is_no_success(client: httpx.AsyncClient, connection: asyncpg.Connection) -> None:
    """The deferred trigger of the test's table speaks up at the commit, after the route has returned."""
    answer = await client.post("/v1/things", json={"thing_id": "a", "size": 13})
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert await things(connection) == []


async def test_a_commit_that_may_work_later(client: httpx.AsyncClient, connection: asyncpg.Connection) -> None:
    answer = await client.post("/v1/things", json={"thing_id": "a", "size": 14})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert await things(connection) == []


async def test_a_snapshot_reads_one_instant(
    client: httpx.AsyncClient, connection: asyncpg.Connection, gate: testing.Gate
) -> None:
    counting = asyncio.create_task(client.get("/v1/counts"))
    await gate.reached.wait()
    await connection.execute("INSERT INTO thing VALUES ('a', 1)")
    gate.opened.set()
    assert (await counting).json() == [0, 0]


async def test_a_snapshot_writes_nothing(client: httpx.AsyncClient, connection: asyncpg.Connection) -> None:
    assert (await client.get("/v1/writing-snapshot")).status_code == 500
    assert await things(connection) == []


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("40001", 503),  # serialization failure
        ("40P01", 503),  # deadlock
        ("55P03", 503),  # lock timeout
        ("57014", 503),  # statement timeout
        ("57P03", 503),  # starting up
        ("53300", 503),  # too many connections
        ("08006", 503),  # connection failure
        ("22021", 422),  # a character the database cannot store
        ("23505", 500),
        ("P0001", 500),
    ],
)
async def test_whose_fault_it_is(client: httpx.AsyncClient, state: str, status: int) -> None:
    answer = await client.get(f"/v1/failing/{state}")
    assert answer.status_code == status
    assert ("retry-after" in answer.headers) == (status == 503)


@pytest.mark.parametrize(("path", "status"), [("/v1/slow", 503), ("/v1/cut-off", 503), ("/v1/misuse", 500)])
async def test_the_next_request_has_a_connection_again(client: httpx.AsyncClient, path: str, status: int) -> None:
    for number in range(POOL_SIZE + 1):
        assert (await client.get(path)).status_code == status
        added = await client.post("/v1/things", json={"thing_id": f"t{number}", "size": 1})
        assert added.status_code == 201


async def test_no_text_of_a_caller_is_an_error_of_ours(client: httpx.AsyncClient) -> None:
    for text, status in (("\u00e4\U0001f600", 201), ("\0", 422), ("\ud800", 422)):
        content = json.dumps({"thing_id": text, "size": 1})
        answer = await client.post("/v1/things", content=content, headers={"content-type": "application/json"})
        assert answer.status_code == status


async def test_more_requests_than_connections(
    client: httpx.AsyncClient, connection: asyncpg.Connection, gate: testing.Gate
) -> None:
    async def all_taken() -> bool:
        states = await connection.fetch("SELECT state FROM pg_stat_activity WHERE datname = current_database()")
        return [row["state"] for row in states].count("idle in transaction") == POOL_SIZE

    holding = [asyncio.create_task(client.get("/v1/hold")) for _ in range(POOL_SIZE)]
    await testing.wait_for(all_taken)
    late = await client.get("/v1/failing/P0001")
    gate.opened.set()
    assert (late.status_code, late.json()["code"], late.headers["retry-after"]) == (503, "unavailable", "1")
    assert {(await answer).status_code for answer in holding} == {200}


async def test_a_start_without_a_database(
    build: Build, database: ServiceDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process lives, says why it waits - once - and works as soon as the database is there."""
    monkeypatch.setattr("webapi.database.log", structlog.get_logger())  # the one there may keep how it was configured
    url = "postgresql://nobody@127.0.0.1:1/nothing"

    async def open_pool() -> "asyncpg.Pool[asyncpg.Record]":
        return await asyncpg.create_pool(url, min_size=1, max_size=1)

    with structlog.testing.capture_logs() as lines:
        async with testing.started(build(make_router(testing.Gate()), open_pool=open_pool)) as client:

            async def told() -> bool:
                return len(lines) > 0

            await testing.wait_for(told)
            lively, ready = await client.get("/livez"), await client.get("/readyz")
            assert (lively.status_code, ready.status_code) == (200, 503)
            assert ready.json()["code"] == "unavailable"
            header = {"X-API-Key": "kc_abcd_" + "0" * 64}
            assert (await client.get("/v1/hold", headers=header)).status_code == 503
            url = database.app_url

            async def is_ready() -> bool:
                return (await client.get("/readyz")).status_code == 200

            await testing.wait_for(is_ready)
    waiting = [line for line in lines if line["event"] == "database not reachable, waiting for it"]
    assert len(waiting) == 1
    assert waiting[0]["reason"].startswith("ConnectionRefusedError")


async def test_the_connections_end_with_the_application(build: Build, connection: asyncpg.Connection) -> None:
    async def sessions() -> int:
        count: int = await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return count

    async with testing.running(build()):
        assert await sessions() > 0

    async def none() -> bool:
        return await sessions() == 0

    await testing.wait_for(none, timeout=5)


async def test_a_failed_check_is_named(build: Build) -> None:
    async def always(connection: Connection) -> None:
        await connection.execute("SELECT 1")

    async def never(connection: Connection) -> None:
        raise NotReady("migration 7 is missing")

    checks: dict[str, Any] = {"always": always, "schema": never}
    async with testing.started(build(readiness=checks)) as client:

        async def told() -> bool:
            return "migration 7" in (await client.get("/readyz")).text

        await testing.wait_for(told)
        answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()["detail"]) == (503, "not ready: schema: migration 7 is missing")


async def test_probes_answer_head_requests(build: Build) -> None:
    async with testing.running(build()) as client:
        assert (await client.head("/livez")).status_code == (await client.head("/readyz")).status_code == 200
