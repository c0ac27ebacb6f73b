import asyncio
from collections.abc import AsyncIterator, Callable

import asyncpg
import httpx
import pytest
from fastapi import APIRouter, FastAPI
from webapi import testing
from webapi.auth import require
from webapi.limits import MAX_BODY_BYTES, MAX_IN_FLIGHT
from webapi.models import Model


class Text(Model):
    text: str


def make_router(gate: testing.Gate) -> APIRouter:
    router = APIRouter(dependencies=[require()])

    @router.post("/v1/texts")
    async def measure(text: Text) -> int:
        return len(text.text)

    @router.get("/v1/hold")
    async def hold() -> None:
        await gate.pass_through()

    return router


@pytest.fixture
def gate() -> testing.Gate:
    return testing.Gate()


@pytest.fixture
async def client(
    build: Callable[..., FastAPI], connection: asyncpg.Connection, gate: testing.Gate
) -> AsyncIterator[httpx.AsyncClient]:
    async with testing.running(build(make_router(gate))) as client:
        client.headers.update(await testing.credential(connection, "texts:write"))
        yield client


def body_of(size: int) -> bytes:
    frame = b'{"text":""}'
    return frame[:-2] + b"a" * (size - len(frame)) + frame[-2:]


async def chunks(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), 4096):
        yield body[start : start + 4096]


@pytest.mark.parametrize(("size", "status"), [(MAX_BODY_BYTES, 200), (MAX_BODY_BYTES + 1, 413)])
@pytest.mark.parametrize("chunked", [False, True])
async def test_large_bodies(client: httpx.AsyncClient, size: int, status: int, chunked: bool) -> None:
    body = body_of(size)
    answer = await client.post(
        "/v1/texts", content=chunks(body) if chunked else body, headers={"content-type": "application/json"}
    )
    assert answer.status_code == status
    if status == 413:
        assert (answer.json()["code"], answer.headers["connection"]) == ("too_large", "close")


@pytest.mark.parametrize("path", ["/v1/hold", "/v1/nothing"])
async def test_large_bodies_where_none_is_expected(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.request("GET", path, content=body_of(MAX_BODY_BYTES + 1))).status_code == 413


async def test_too_many_at_once(client: httpx.AsyncClient, gate: testing.Gate) -> None:
    assert (await client.post("/v1/texts", json={"text": ""})).status_code == 200  # and the key is known from here on
    many = [asyncio.create_task(client.get("/v1/hold")) for _ in range(MAX_IN_FLIGHT)]
    await gate.reached.wait()

    async def refused() -> bool:
        return (await client.get("/v1/nothing")).status_code == 503

    await testing.wait_for(refused)
    late = await client.get("/v1/hold")
    gate.opened.set()
    assert (late.status_code, late.json()["code"], late.headers["retry-after"]) == (503, "unavailable", "1")
    assert {(await answer).status_code for answer in many} == {200}
    assert (await client.get("/v1/hold")).status_code == 200


@pytest.mark.parametrize(
    ("announced", "status"), [("9" * 5_000, 413), ("0" * 5_000, 200), ("1e9", 200), ("\u00b2", 200), ("-1", 200)]
)
async def test_lengths_that_are_odd(client: httpx.AsyncClient, announced: str, status: int) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", announced.encode("latin-1"))]
    answer = await client.post("/v1/texts", content=body_of(20), headers=headers)
    assert answer.status_code == status
