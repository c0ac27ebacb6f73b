import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import httpx
import pytest
import structlog
from fastapi import APIRouter, FastAPI
from prometheus_client import REGISTRY
from structlog.typing import EventDict
from webapi import testing
from webapi.access import NO_ROUTE, RESPONSE_HEADERS, trace
from webapi.auth import require
from webapi.models import Model

SECRET = "HUNTER2"


class Voucher(Model):
    code: str


router = APIRouter(prefix="/v1", dependencies=[require("vouchers:read")])


@router.post("/owners/{owner_id}/checks")
async def check(owner_id: str, voucher: Voucher, hint: str = "") -> str:
    if hint == "fail":
        raise RuntimeError("no luck")
    return "checked"


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("webapi.access.log", structlog.get_logger())  # the one there may keep what it was configured to
    with structlog.testing.capture_logs() as lines:
        yield lines


@pytest.fixture
async def client(
    build: Callable[..., FastAPI], connection: asyncpg.Connection, lines: list[EventDict]
) -> AsyncIterator[httpx.AsyncClient]:
    async with testing.running(build(router, development=True)) as client:
        client.headers.update(await testing.credential(connection, "vouchers:read", client="till"))
        lines.clear()
        yield client


ROUTE = "/v1/owners/{owner_id}/checks"


async def test_one_line_a_request_without_secrets(client: httpx.AsyncClient, lines: list[EventDict]) -> None:
    await client.post(f"/v1/owners/{SECRET}/checks?hint={SECRET}", json={"code": SECRET})
    [line] = lines
    assert line.pop("milliseconds") >= 0
    assert re.fullmatch("[0-9a-f]{16}", line.pop("request_id"))
    assert line == {
        "event": "request",
        "log_level": "info",
        "method": "POST",
        "route": ROUTE,
        "status": 200,
        "client": "till",
    }


@pytest.mark.parametrize("content", [b'{"code":' + SECRET.encode(), b'{"cod":"' + SECRET.encode() + b'"}'])
async def test_a_refused_request_is_logged_with_its_problem(
    client: httpx.AsyncClient, lines: list[EventDict], content: bytes
) -> None:
    answer = await client.post(
        f"/v1/owners/{SECRET}/checks", content=content, headers={"content-type": "application/json"}
    )
    [line] = lines
    assert (line["status"], line["problem"], line["request_id"]) == (422, "malformed", answer.json()["request_id"])
    assert SECRET not in str(lines)
    assert client.headers["authorization"].removeprefix("Bearer ") not in str(lines)


async def test_an_unforeseen_error_is_logged_with_its_trace(client: httpx.AsyncClient, lines: list[EventDict]) -> None:
    answer = await client.post("/v1/owners/a/checks?hint=fail", json={"code": SECRET})
    failed, request = lines
    assert (failed["event"], failed["log_level"]) == ("request failed", "error")
    assert 'raise RuntimeError("no luck")' in failed["exception"]
    assert failed["exception"].endswith("builtins.RuntimeError")
    assert SECRET not in failed["exception"]
    assert (request["status"], request["problem"], request["log_level"]) == (500, "internal", "warning")
    assert failed["request_id"] == request["request_id"] == answer.json()["request_id"]


async def test_a_trace_names_what_was_violated_and_no_value(connection: asyncpg.Connection) -> None:
    try:
        try:
            await connection.execute("INSERT INTO api_key (key_id, name) VALUES ($1, 'a')", SECRET)
        except asyncpg.NotNullViolationError as error:
            raise ValueError(SECRET) from error
    except ValueError as error:
        told = trace(error)
    assert SECRET not in told
    assert "builtins.ValueError\ncaused by\n" in told
    assert told.endswith("NotNullViolationError sqlstate=23502 table_name=api_key column_name=secret_hash")


async def test_probes_are_not_logged(client: httpx.AsyncClient, lines: list[EventDict]) -> None:
    await client.get("/livez")
    await client.get("/readyz")
    assert lines == []


async def test_a_request_can_bring_its_name(client: httpx.AsyncClient, lines: list[EventDict]) -> None:
    answer = await client.get("/livez", headers={"X-Request-Id": "till-7.42"})
    assert answer.headers["x-request-id"] == "till-7.42"
    for forged in ("", "a b", "a" * 65, "a\tb"):
        answer = await client.get("/livez", headers={"X-Request-Id": forged})
        assert re.fullmatch("[0-9a-f]{16}", answer.headers["x-request-id"])


def counted(method: str, route: str, status: int) -> float:
    labels = {"method": method, "route": route, "status": str(status)}
    return REGISTRY.get_sample_value("http_requests_total", labels) or 0.0


@pytest.mark.parametrize(
    ("method", "path", "label", "route", "status"),
    [
        ("POST", "/v1/owners/a/checks", "POST", ROUTE, 200),
        ("GET", "/v1/owners/a/checks", "GET", ROUTE, 405),
        ("GET", "/v1/nothing", "GET", NO_ROUTE, 404),
        ("BREW", "/v1/nothing", "(other)", NO_ROUTE, 404),
    ],
)
async def test_metrics_by_route(
    client: httpx.AsyncClient, method: str, path: str, label: str, route: str, status: int
) -> None:
    before = counted(label, route, status)
    answer = await client.request(method, path, json={"code": "a"})
    assert answer.status_code == status
    assert counted(label, route, status) == before + 1
    seconds = REGISTRY.get_sample_value("http_request_seconds_count", {"method": label, "route": route})
    assert seconds is not None


@pytest.mark.parametrize(
    "request_line", ["POST /v1/owners/a/checks", "POST /v1/owners/a/checks?hint=fail", "GET /v1/nothing", "GET /livez"]
)
async def test_every_response_carries_the_headers(client: httpx.AsyncClient, request_line: str) -> None:
    method, path = request_line.split()
    answer = await client.request(method, path, json={"code": "a"})
    assert set(RESPONSE_HEADERS) <= set(answer.headers.raw)
    assert len(answer.headers.raw) == len(set(answer.headers))


async def test_the_docs_page_may_load_its_scripts(client: httpx.AsyncClient) -> None:
    answer = await client.get("/docs")
    assert answer.status_code == 200
    assert "content-security-policy" not in answer.headers
