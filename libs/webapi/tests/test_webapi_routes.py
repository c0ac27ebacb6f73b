"""Routes are the application's own, and stay what their routers said they are."""

from collections.abc import Callable
from typing import Annotated, Any

import asyncpg
import pytest
from fastapi import APIRouter, FastAPI, Request, WebSocket
from fastapi.routing import APIRoute
from prometheus_client import REGISTRY
from webapi import testing
from webapi.auth import Caller, require
from webapi.problems import Problem, responses

Build = Callable[..., FastAPI]


class Gone(Problem):
    status = 410
    code = "gone"
    title = "It is gone"


class Loud(APIRoute):
    """A kind of route of its own."""

    def get_route_handler(self) -> Any:
        handle = super().get_route_handler()

        async def handle_loudly(request: Request) -> Any:
            response = await handle(request)
            response.headers["x-loud"] = "yes"
            return response

        return handle_loudly


def shelves() -> APIRouter:
    inner = APIRouter(tags=["shelves"], dependencies=[require("shelves:read")], route_class=Loud)

    @inner.post("/{shelf}", status_code=202, deprecated=True, responses=responses(Gone))
    async def fill_shelf(shelf: str, caller: Annotated[Caller, require("shelves:write")]) -> str:
        """Put something on it."""
        return f"{shelf} by {caller.client}"

    router = APIRouter(prefix="/v1")
    router.include_router(inner, prefix="/shelves")
    return router


async def test_what_a_router_says_of_a_route_holds(build: Build, connection: asyncpg.Connection) -> None:
    route = "/v1/shelves/{shelf}"
    app = build(shelves())
    async with testing.running(app) as client:
        stranger = await client.post("/v1/shelves/a")
        headers = [await testing.credential(connection, *scopes, client="till") for scopes in SCOPES]
        answers = [await client.post("/v1/shelves/a", headers=each) for each in headers]
        wrong_method = await client.get("/v1/shelves/a")
    assert (stranger.status_code, wrong_method.status_code) == (401, 405)
    assert [answer.status_code for answer in answers] == [403, 403, 202]
    assert (answers[-1].json(), answers[-1].headers["x-loud"]) == ("a by till", "yes")
    counted = {"method": "POST", "route": route, "status": "202"}
    assert REGISTRY.get_sample_value("http_requests_total", counted) == 1
    told = app.openapi()["paths"][route]["post"]
    assert (told["operationId"], told["tags"], told["deprecated"]) == ("fill_shelf", ["shelves"], True)
    assert {"202", "401", "410"} < told["responses"].keys()
    assert told["security"] == [{"bearer": BOTH}, {"api_key": BOTH}]


BOTH = ["shelves:read", "shelves:write"]
SCOPES = (["shelves:read"], ["shelves:write"], BOTH)


def test_nothing_but_http_is_served(build: Build) -> None:
    router = APIRouter(dependencies=[require("shelves:read")])

    @router.websocket("/v1/live")
    async def live(websocket: WebSocket) -> None:
        raise AssertionError("nobody gets here")

    with pytest.raises(TypeError, match="/v1/live"):
        build(router)
