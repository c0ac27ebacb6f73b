"""What the document says beyond what FastAPI makes of a route."""

from collections.abc import Callable
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, FastAPI
from webapi import openapi
from webapi.auth import Caller, require
from webapi.idempotency import IdempotentRoute, KeyReused, idempotent
from webapi.models import Instant, Model
from webapi.pages import Page, PageOf, paged
from webapi.problems import MEDIA_TYPE, Problem, responses

router = APIRouter(route_class=IdempotentRoute, tags=["things"])


class Thing(Model):
    """A thing."""

    made_at: Instant


@router.post("/v1/things", responses=responses(KeyReused))
async def make_thing(thing: Thing, caller: Annotated[Caller, idempotent("things:write")]) -> Thing:
    """Make a thing. Twice with one key makes one."""
    return thing


@router.get("/v1/things")
async def list_things(
    page: Annotated[Page, paged(int)], caller: Annotated[Caller, require("things:read", "shelves:read")]
) -> PageOf[Thing]:
    """Things, newest first."""
    return PageOf[Thing](items=[], next_cursor=None)


@pytest.fixture
def document(build: Callable[..., FastAPI]) -> dict[str, Any]:
    return build(router).openapi()


@pytest.fixture
def made(document: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = document["paths"]["/v1/things"]["post"]
    return operation


def test_names_are_short(document: dict[str, Any], made: dict[str, Any]) -> None:
    assert (made["operationId"], made["summary"]) == ("make_thing", "Make a thing")
    assert set(document["components"]["schemas"]) == {"Thing", "PageOfThing", "Problem"}


def test_a_credential_goes_in_either_of_two_headers_with_the_same_scopes(document: dict[str, Any]) -> None:
    scopes = ["shelves:read", "things:read"]
    listed = document["paths"]["/v1/things"]["get"]
    assert listed["security"] == [{"bearer": scopes}, {"api_key": scopes}]
    assert listed["description"].endswith("Needs the scope `shelves:read`, `things:read`.")
    assert set(document["components"]["securitySchemes"]) == {"bearer", "api_key"}


def test_a_status_tells_the_codes_of_the_route_and_those_of_every_route(made: dict[str, Any]) -> None:
    answer = made["responses"]["422"]
    assert answer["content"][MEDIA_TYPE]["schema"]["allOf"][1] == {
        "properties": {"code": {"enum": ["idempotency_key_reused", "malformed"]}}
    }
    assert answer["description"].count("`") == 4


def test_routes_do_not_share_what_their_statuses_mean(document: dict[str, Any]) -> None:
    listed = document["paths"]["/v1/things"]["get"]["responses"]["422"]
    assert "idempotency_key_reused" not in str(listed)


def test_every_answer_names_its_headers(made: dict[str, Any]) -> None:
    assert all("X-Request-Id" in answer["headers"] for answer in made["responses"].values())
    assert "Retry-After" in made["responses"]["503"]["headers"]
    assert "WWW-Authenticate" in made["responses"]["401"]["headers"]


def test_requests_are_closed_and_answers_open(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    assert schemas["Thing"]["additionalProperties"] is False
    assert "additionalProperties" not in schemas["PageOfThing"]
    assert schemas["Thing"]["properties"]["made_at"] == {"type": "string", "format": "date-time"}


def test_a_replay_says_that_it_is_one(made: dict[str, Any]) -> None:
    assert "Idempotency-Replayed" in made["responses"]["200"]["headers"]


def problems_known() -> list[type[Problem]]:
    found = list(Problem.__subclasses__())
    return [each for each in found if each.__module__.startswith("webapi.")]


@pytest.mark.parametrize("problem", problems_known(), ids=lambda problem: problem.code)
def test_the_headers_of_a_problem_are_declared(problem: type[Problem]) -> None:
    sent = problem("why", allowed=["GET"]).headers
    assert set(sent) == set(problem.header_names)
    assert set(sent) <= set(openapi.HEADERS)
