"""The HTTP side, as callers see it."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx
import pytest
from customer_status.main import build
from customer_status.parameters import now_us
from customer_status.settings import ApiSettings
from devstack import ServiceDatabase
from programme.instants import parse_instant
from programme.terms import Programme
from webapi.testing import credential, running

NOW = parse_instant("2026-06-01T00:00:00Z")
STATUS = "/v1/members/{}/status"


@pytest.fixture
async def client(database: ServiceDatabase, programme: Programme) -> AsyncIterator[httpx.AsyncClient]:
    app = build(ApiSettings(database_url=database.app_url), programme)
    app.dependency_overrides[now_us] = lambda: NOW
    async with running(app) as client:
        yield client


@pytest.fixture
async def headers(conn: asyncpg.Connection) -> dict[str, str]:
    return await credential(conn, "members:read")


async def test_status_of_a_silver_member(client: httpx.AsyncClient, headers: dict[str, str], feed: Any) -> None:
    await feed(
        feed.purchase("M1", "p1", "2026-01-10T10:00:00Z", 60_000),
        feed.purchase("M1", "p2", "2026-03-10T10:00:00Z", 50_000),
    )
    answer = await client.get(STATUS.format("M1"), headers=headers)
    assert answer.status_code == 200
    cause = {"kind": "purchase", "id": "p2", "occurred_at": "2026-03-10T10:00:00Z"}
    assert answer.json() == {
        "member_id": "M1",
        "at": "2026-06-01T00:00:00Z",
        "level": "silver",
        "bonus_percent": 10,
        "since": "2026-03-10T10:00:00Z",
        "held_until": "2027-03-09T23:00:00Z",
        "collected_points": 1100,
        "next_level": "gold",
        "points_to_next_level": 1900,
        "points_to_keep_level": 500,
        "timeline": [
            {"after": None, "level": "basis", "reason": "start", "causes": []},
            {"after": "2026-03-10T10:00:00Z", "level": "silver", "reason": "collected", "causes": [cause]},
            {"after": "2027-03-09T23:00:00Z", "level": "basis", "reason": "lapsed", "causes": [cause]},
        ],
        "lifecycle": {"status": "bestandskunde", "at_risk_since": None, "reactivated_on": None},
        "abc": None,
        "contact_person": None,
        "benefits": ["discount"],
    }


async def test_status_of_a_member_who_only_joined(
    client: httpx.AsyncClient, headers: dict[str, str], feed: Any
) -> None:
    await feed(feed.joined("M1", "2026-01-10T10:00:00Z"))
    answer = await client.get(STATUS.format("M1"), headers=headers)
    assert answer.json() == {
        "member_id": "M1",
        "at": "2026-06-01T00:00:00Z",
        "level": "basis",
        "bonus_percent": 0,
        "since": None,
        "held_until": None,
        "collected_points": 0,
        "next_level": "silver",
        "points_to_next_level": 1000,
        "points_to_keep_level": None,
        "timeline": [{"after": None, "level": "basis", "reason": "start", "causes": []}],
        "lifecycle": {"status": "interessent", "at_risk_since": None, "reactivated_on": None},
        "abc": None,
        "contact_person": None,
        "benefits": [],
    }


async def test_an_unknown_member_is_a_problem(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    answer = await client.get(STATUS.format("nobody"), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (404, "member_not_found")


@pytest.mark.parametrize("member_id", ["M%201", "%F0%9F%8E%81", "x" * 41, "M1'--", "M1%0A", "x" * 10_000])
async def test_what_is_no_member_id_is_malformed(
    member_id: str, client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    answer = await client.get(STATUS.format(member_id), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "malformed")


async def test_strangers_and_callers_without_the_scope_are_refused(
    client: httpx.AsyncClient, conn: asyncpg.Connection
) -> None:
    assert (await client.get(STATUS.format("M1"))).status_code == 401
    answer = await client.get(STATUS.format("M1"), headers=await credential(conn, "members:write"))
    assert (answer.status_code, answer.json()["missing_scopes"]) == (403, ["members:read"])


def test_the_document_names_the_levels_and_the_problem(programme: Programme) -> None:
    document = build(ApiSettings(database_url="postgresql://nobody@localhost/x"), programme).openapi()
    operation = document["paths"]["/v1/members/{member_id}/status"]["get"]
    assert "member_not_found" in operation["responses"]["404"]["description"]
    level = document["components"]["schemas"]["StatusBody"]["properties"]["level"]
    assert level["enum"] == ["basis", "silver", "gold"]
