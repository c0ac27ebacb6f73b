import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Annotated, Any, NamedTuple

import asyncpg
import httpx
import pytest
from fastapi import APIRouter, FastAPI, Request, Response
from webapi import testing
from webapi.app import build_app
from webapi.auth import Caller
from webapi.database import Connection, RequestTransaction
from webapi.idempotency import PROBLEMS, Claim, ForgetfulRoute, IdempotentRoute, idempotent, keyed, purge
from webapi.keyed_requests import Answer, KeyedRequests
from webapi.keys import ApiKeys, KeyText, create
from webapi.models import Model
from webapi.problems import Problem, responses

Build = Callable[..., FastAPI]
WRITE = frozenset({"things:write"})
SHOP = KeyText("shop", "s" * 64)
TILL = KeyText("till", "t" * 64)


class Thing(Model):
    size: int


class TooBig(Problem):
    status = 409
    code = "too_big"
    title = "There is no room"


class Wanted(NamedTuple):
    """What a request asks for where many are carried out together."""

    thing_id: str
    size: int

    def owner(self) -> str:
        return self.thing_id


def make_together_router(gate: testing.Gate) -> APIRouter:
    """The same as `make_router`, for as many as ask at once."""
    router = APIRouter(route_class=IdempotentRoute)

    async def add_all(conn: Connection, wanted: Sequence[Wanted]) -> list[Answer | Problem]:
        answers: list[Answer | Problem] = []
        for thing_id, size in wanted:
            if size > 100:
                answers.append(TooBig("at most 100"))
                continue
            await conn.execute("INSERT INTO thing VALUES ($1, $2)", thing_id, size)
            if size == 99:
                await gate.pass_through()
            told = {"thing_id": thing_id.partition("-")[2], "things": await conn.fetchval("SELECT count(*) FROM thing")}
            answers.append(Answer(201, json.dumps(told).encode(), json.dumps(told | {"thing_id": ""}).encode()))
        return answers

    async def complete(conn: Connection, kept: bytes) -> bytes:
        return json.dumps(json.loads(kept) | {"thing_id": "a"}).encode()

    @router.post("/v1/things/{thing_id}", status_code=201, responses=responses(TooBig, *PROBLEMS))
    async def add(
        thing_id: str, thing: Thing, request: Request, claim: Annotated[Claim, keyed("things:write", about="thing_id")]
    ) -> Response:
        state = request.app.state
        if not hasattr(state, "things"):
            state.things = KeyedRequests[Wanted](
                state.database, add_all, complete, whose=lambda wanted: wanted.thing_id
            )
        wanted = Wanted(f"{claim.caller.partition('/')[0]}-{thing_id}", thing.size)
        answer: Response = await state.things.answer(claim, wanted)
        return answer

    return router


def make_router(gate: testing.Gate) -> APIRouter:
    router = APIRouter(route_class=IdempotentRoute)

    @router.post("/v1/things/{thing_id}", status_code=201, responses=responses(TooBig, *PROBLEMS))
    async def add(
        thing_id: str,
        thing: Thing,
        transaction: RequestTransaction,
        caller: Annotated[Caller, idempotent("things:write")],
    ) -> dict[str, Any]:
        await transaction.execute("INSERT INTO thing VALUES ($1, $2)", f"{caller.client}-{thing_id}", thing.size)
        if thing.size > 100:
            raise TooBig("at most 100")
        if thing.size == 99:
            await gate.pass_through()
        return {"thing_id": thing_id, "things": await transaction.fetchval("SELECT count(*) FROM thing")}

    return router


def make_other_router() -> APIRouter:
    router = APIRouter(route_class=IdempotentRoute)

    @router.post("/v1/touch", status_code=204)
    async def touch(transaction: RequestTransaction, caller: Annotated[Caller, idempotent("things:write")]) -> None:
        pass

    @router.post("/v1/teapot")
    async def teapot(caller: Annotated[Caller, idempotent()]) -> Response:
        return Response(status_code=418)

    return router


@pytest.fixture
def gate() -> testing.Gate:
    return testing.Gate()


MakeRouter = Callable[[testing.Gate], APIRouter]


@pytest.fixture(params=[make_router, make_together_router], ids=["alone", "together"])
def make(request: pytest.FixtureRequest) -> MakeRouter:
    """Both ways to keep the promises of a key."""
    made: MakeRouter = request.param
    return made


@pytest.fixture
async def client(
    build: Build, connection: asyncpg.Connection, make: MakeRouter, gate: testing.Gate
) -> AsyncIterator[httpx.AsyncClient]:
    await create(connection, SHOP, "shop", WRITE)
    await create(connection, TILL, "till", WRITE)
    keys = {"authenticator": lambda database: ApiKeys(database, cache_seconds=0)}
    app = build(make(gate), make_other_router(), **keys)
    async with testing.running(app) as client:
        client.headers["X-API-Key"] = str(SHOP)
        yield client


def key(name: str, credential: KeyText = SHOP) -> dict[str, str]:
    return {"Idempotency-Key": name, "X-API-Key": str(credential)}


async def things(connection: asyncpg.Connection) -> int:
    count: int = await connection.fetchval("SELECT count(*) FROM thing")
    return count


async def remembered(connection: asyncpg.Connection) -> int:
    count: int = await connection.fetchval("SELECT count(*) FROM idempotency_key")
    return count


async def test_the_same_request_again_is_answered_but_not_done(
    client: httpx.AsyncClient, connection: asyncpg.Connection
) -> None:
    first = await client.post("/v1/things/a", json={"size": 1}, headers=key("k"))
    again = await client.post("/v1/things/a", json={"size": 1}, headers=key("k"))
    assert (first.status_code, first.json()) == (201, {"thing_id": "a", "things": 1})
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["content-type"] == first.headers["content-type"]
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert await things(connection) == 1


@pytest.mark.parametrize(
    ("path", "size"), [("/v1/things/b", 1), ("/v1/things/a?x=1", 1), ("/v1/things/a", 2), ("/v1/things/%61", 1)]
)
async def test_the_key_of_another_request(
    client: httpx.AsyncClient, connection: asyncpg.Connection, path: str, size: int
) -> None:
    await client.post("/v1/things/a", json={"size": 1}, headers=key("k"))
    other = await client.post(path, json={"size": size}, headers=key("k"))
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert await things(connection) == 1


async def test_keys_belong_to_their_caller(client: httpx.AsyncClient, connection: asyncpg.Connection) -> None:
    for credential in (SHOP, TILL):
        answer = await client.post("/v1/things/a", json={"size": 1}, headers=key("k", credential))
        assert "idempotency-replayed" not in answer.headers
    assert await things(connection) == 2


async def test_who_lost_the_scope_gets_no_replay(client: httpx.AsyncClient, connection: asyncpg.Connection) -> None:
    await client.post("/v1/things/a", json={"size": 1}, headers=key("k"))
    await create(connection, SHOP, "shop", frozenset({"things:read"}))
    again = await client.post("/v1/things/a", json={"size": 1}, headers=key("k"))
    assert again.status_code == 403


async def test_while_the_first_is_worked_on(
    client: httpx.AsyncClient, connection: asyncpg.Connection, gate: testing.Gate
) -> None:
    first = asyncio.create_task(client.post("/v1/things/a", json={"size": 99}, headers=key("k")))
    await gate.reached.wait()
    impatient = await client.post("/v1/things/a", json={"size": 99}, headers=key("k"))
    other_key = await client.post("/v1/things/b", json={"size": 1}, headers=key("other"))
    gate.opened.set()
    assert (impatient.status_code, impatient.json()["code"]) == (409, "request_in_flight")
    assert impatient.headers["retry-after"] == "1"
    assert (await first).status_code == other_key.status_code == 201
    again = await client.post("/v1/things/a", json={"size": 99}, headers=key("k"))
    assert (again.headers["idempotency-replayed"], again.content) == ("true", (await first).content)
    assert await things(connection) == 2


async def test_while_the_first_is_worked_on_by_another_process(
    build: Build, client: httpx.AsyncClient, connection: asyncpg.Connection, make: MakeRouter, gate: testing.Gate
) -> None:
    first = asyncio.create_task(client.post("/v1/things/a", json={"size": 99}, headers=key("k")))
    await gate.reached.wait()
    async with testing.running(build(make(gate))) as other:
        impatient = await other.post("/v1/things/a", json={"size": 99}, headers=key("k"))
        gate.opened.set()
        assert (impatient.status_code, impatient.json()["code"]) == (409, "request_in_flight")
        again = await asyncio.gather(first, other.post("/v1/things/a", json={"size": 99}, headers=key("k2")))
    assert [answer.status_code for answer in again] == [201, 500], "the same thing twice is not for the key to hold"
    assert await things(connection) == 1


async def test_many_at_once_happen_once(client: httpx.AsyncClient, connection: asyncpg.Connection) -> None:
    answers = await asyncio.gather(
        *(client.post("/v1/things/a", json={"size": 1}, headers=key("k")) for _ in range(20))
    )
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert len([answer for answer in answers if answer.status_code == 201 and not replayed(answer)]) == 1
    assert await things(connection) == 1


def replayed(answer: httpx.Response) -> bool:
    return "idempotency-replayed" in answer.headers


async def test_a_refusal_is_not_remembered(client: httpx.AsyncClient, connection: asyncpg.Connection) -> None:
    for _ in range(2):
        answer = await client.post("/v1/things/a", json={"size": 101}, headers=key("k"))
        assert (answer.status_code, replayed(answer)) == (409, False)
    assert (await client.post("/v1/teapot", headers=key("k"))).status_code == 418
    assert (await things(connection), await remembered(connection)) == (0, 0)


async def test_what_was_not_committed_is_not_remembered(
    client: httpx.AsyncClient, connection: asyncpg.Connection
) -> None:
    refused = await client.post("/v1/things/a", json={"size": 13}, headers=key("k"))
    assert refused.status_code == 500
    assert (await things(connection), await remembered(connection)) == (0, 0)


async def test_an_empty_answer(client: httpx.AsyncClient) -> None:
    first = await client.post("/v1/touch", headers=key("k"))
    again = await client.post("/v1/touch", headers=key("k"))
    assert (first.status_code, again.status_code, again.content) == (204, 204, b"")
    assert "content-type" not in again.headers


@pytest.mark.parametrize("name", [None, "", "two words", "\u00e9", "k" * 256])
async def test_a_key_is_needed(client: httpx.AsyncClient, connection: asyncpg.Connection, name: str | None) -> None:
    headers = {} if name is None else {b"idempotency-key": name.encode()}
    answer = await client.post("/v1/things/a", json={"size": 1}, headers=headers)
    [error] = answer.json()["errors"]
    assert (answer.status_code, error["in"], error["pointer"]) == (422, "header", "#/Idempotency-Key")
    assert await things(connection) == 0


async def test_purge(client: httpx.AsyncClient, connection: asyncpg.Connection, database: Any) -> None:
    for name in ("old", "new"):
        await client.post(f"/v1/things/{name}", json={"size": 1}, headers=key(name))
    owner = await asyncpg.connect(database.owner_url)
    await owner.execute("UPDATE idempotency_key SET created_at = now() - interval '31 days' WHERE key = 'old'")
    await owner.close()
    assert [await purge(connection, 1), await purge(connection, 1)] == [1, 0]
    assert await connection.fetchval("SELECT key FROM idempotency_key") == "new"


def test_a_route_that_would_not_remember_cannot_be_built() -> None:
    router = APIRouter()

    @router.post("/v1/forgetful")
    async def forgetful(caller: Annotated[Caller, idempotent()]) -> None:
        pass

    with pytest.raises(ForgetfulRoute, match="/v1/forgetful"):
        build_app(title="things", version="1", routers=[router], open_pool=never, development=False)


async def never() -> "asyncpg.Pool[asyncpg.Record]":
    raise AssertionError("an application must not connect before it is started")


class Desk:
    """Two people at one client."""

    async def authenticate(self, credential: str) -> Caller | None:
        return Caller("desk", credential, WRITE)


async def test_keys_of_people_at_one_client_are_their_own(
    build: Build, connection: asyncpg.Connection, make: MakeRouter
) -> None:
    async with testing.running(build(make(testing.Gate()), authenticator=lambda database: Desk())) as client:
        for person in ("anna", "bert"):
            answer = await client.post(
                f"/v1/things/{person}", json={"size": 1}, headers={"Idempotency-Key": "k", "X-API-Key": person}
            )
            assert answer.status_code == 201
    assert await things(connection) == 2
