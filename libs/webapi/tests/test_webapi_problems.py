import json
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI, Path, Query
from webapi import testing
from webapi.auth import require
from webapi.models import Model
from webapi.problems import (
    MEDIA_TYPE,
    REPORTED_ERRORS,
    Malformed,
    Problem,
    responses,
)

MEMBERS = {"type", "title", "status", "code", "detail", "request_id"}


class OutOfStock(Problem):
    status = 409
    code = "out_of_stock"
    title = "Nothing is left"


class Line(Model):
    sku: str
    amount: int


class Order(Model):
    lines: list[Line]


router = APIRouter(dependencies=[require()])


@router.post("/v1/orders/{order_id}", responses=responses(OutOfStock))
async def place(
    order_id: Annotated[str, Path(pattern=r"^[a-z]+$")],
    order: Order,
    express: Annotated[bool, Query()] = False,
) -> dict[str, bool]:
    if express:
        raise OutOfStock("none of them", left=0)
    return {"placed": True}


@router.get("/v1/orders/{order_id}")
async def look(order_id: str) -> str:
    return order_id


@router.get("/v1/broken")
async def broken() -> None:
    raise RuntimeError("password=hunter2")


@router.get("/v1/by-hand")
async def by_hand() -> None:
    raise Malformed.at("body", "lines/0/sku", "is sold out")


@pytest.fixture
async def client(build: Callable[..., FastAPI], connection: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with testing.running(build(router)) as client:
        client.headers.update(await testing.credential(connection, "orders:write"))
        yield client


def problem_of(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    problem: dict[str, Any] = response.json()
    assert response.headers["content-type"] == MEDIA_TYPE
    assert (response.status_code, problem["status"], problem["code"]) == (status, status, code)
    assert problem["type"] == f"urn:problem-type:{code}"
    assert problem.keys() >= MEMBERS
    assert problem["request_id"] == response.headers["x-request-id"]
    return problem


ORDER = {"lines": [{"sku": "a", "amount": 1}]}


async def test_a_raised_problem_with_its_extensions(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/orders/a?express=true", json=ORDER)
    problem = problem_of(response, 409, "out_of_stock")
    assert (problem["title"], problem["detail"], problem["left"]) == ("Nothing is left", "none of them", 0)


@pytest.mark.parametrize(
    ("path", "body", "place", "pointer"),
    [
        ("/v1/orders/a", {"lines": [{"sku": "a", "amount": "1"}]}, "body", "#/lines/0/amount"),
        ("/v1/orders/a", {"lines": [{"sku": "a"}]}, "body", "#/lines/0/amount"),
        ("/v1/orders/a", {**ORDER, "a/b~c": 1}, "body", "#/a~1b~0c"),
        ("/v1/orders/a", {**ORDER, "\ud800": 1}, "body", "#"),
        ("/v1/orders/a", [], "body", "#"),
        ("/v1/orders/a", None, "body", "#"),
        ("/v1/orders/A", ORDER, "path", "#/order_id"),
        ("/v1/orders/a?express=perhaps", ORDER, "query", "#/express"),
    ],
)
async def test_malformed_names_the_field(
    client: httpx.AsyncClient, path: str, body: Any, place: str, pointer: str
) -> None:
    content = json.dumps(body)
    response = await client.post(path, content=content, headers={"content-type": "application/json"})
    [error] = problem_of(response, 422, "malformed")["errors"]
    assert (error["in"], error["pointer"]) == (place, pointer)


async def test_malformed_tells_no_values_and_not_everything(client: httpx.AsyncClient) -> None:
    lines = [{"sku": 7, "amount": "hunter2"}] * REPORTED_ERRORS
    response = await client.post("/v1/orders/a", json={"lines": lines})
    assert len(problem_of(response, 422, "malformed")["errors"]) == REPORTED_ERRORS
    assert "hunter2" not in response.text


@pytest.mark.parametrize("body", [b'{"lines":', b"", b"nonsense", b'{"lines":"\xff"}', b"[" * 100_000])
async def test_unreadable_json(client: httpx.AsyncClient, body: bytes) -> None:
    response = await client.post("/v1/orders/a", content=body, headers={"content-type": "application/json"})
    [error] = problem_of(response, 422, "malformed")["errors"]
    assert (error["in"], error["pointer"]) == ("body", "#")


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", None])
async def test_other_content_types(client: httpx.AsyncClient, content_type: str | None) -> None:
    headers = {"content-type": content_type} if content_type else {}
    response = await client.post("/v1/orders/a", content=b'{"lines":[]}', headers=headers)
    problem_of(response, 415, "unsupported_media_type")


async def test_no_such_path(client: httpx.AsyncClient) -> None:
    problem_of(await client.get("/v1/nothing"), 404, "not_found")


async def test_no_such_method_names_those_of_all_routes_of_the_path(client: httpx.AsyncClient) -> None:
    response = await client.delete("/v1/orders/a")
    assert problem_of(response, 405, "method_not_allowed")["allowed"] == ["GET", "POST"]
    assert response.headers["allow"] == "GET, POST"


async def test_an_unforeseen_error_leaks_nothing(client: httpx.AsyncClient) -> None:
    response = await client.get("/v1/broken")
    problem_of(response, 500, "internal")
    assert "hunter2" not in response.text
    assert "RuntimeError" not in response.text


async def test_a_service_can_name_a_field_too(client: httpx.AsyncClient) -> None:
    problem = problem_of(await client.get("/v1/by-hand"), 422, "malformed")
    assert problem["errors"] == [{"in": "body", "pointer": "#/lines/0/sku", "detail": "is sold out"}]


def test_a_problem_must_be_complete() -> None:
    with pytest.raises(TypeError, match="must define code"):

        class Nameless(Problem):
            status = 409
            title = "No code"


def test_the_document_declares_the_problems(build: Callable[..., FastAPI]) -> None:
    document = build(router).openapi()
    declared = document["paths"]["/v1/orders/{order_id}"]["post"]["responses"]
    assert declared.keys() == {"200", "401", "403", "409", "413", "415", "422", "429", "500", "503"}
    general, codes = declared["409"]["content"][MEDIA_TYPE]["schema"]["allOf"]
    assert general == {"$ref": "#/components/schemas/Problem"}
    assert codes == {"properties": {"code": {"enum": ["out_of_stock"]}}}
    assert "out_of_stock" in declared["409"]["description"]
    assert document["components"]["schemas"]["Problem"]["required"]


def test_problems_of_one_status_are_declared_together() -> None:
    class SoldElsewhere(Problem):
        status = 409
        code = "sold_elsewhere"
        title = "Somebody else was quicker"

    declared = responses(OutOfStock, SoldElsewhere)
    assert declared.keys() == {409}
    assert declared[409]["description"].count("`") == 4


async def test_callers_are_checked_before_their_input(client: httpx.AsyncClient) -> None:
    del client.headers["authorization"]
    problem_of(await client.post("/v1/orders/A", json={}), 401, "unauthorized")
