"""Lists of members and contact persons of key accounts, as callers see them."""

import csv
import io
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx
import pytest
from customer_status.lists import service
from customer_status.main import build
from customer_status.parameters import now_us
from customer_status.settings import ApiSettings
from devstack import ServiceDatabase
from programme.instants import parse_instant
from programme.terms import Programme
from webapi.testing import credential, running

NOW = parse_instant("2026-06-01T12:00:00Z")
SCOPES = ("members:read", "segments:read", "segments:write", "contact-persons:write")


@pytest.fixture
async def client(
    database: ServiceDatabase, programme: Programme, conn: asyncpg.Connection, feed: Any
) -> AsyncIterator[httpx.AsyncClient]:
    app = build(ApiSettings(database_url=database.app_url), programme)
    app.dependency_overrides[now_us] = lambda: NOW
    await feed(feed.joined("interested", "2026-05-01T10:00:00Z"), feed.joined("tomorrow", "2026-06-02T00:00:00Z"))
    await feed(
        feed.purchase("key", "p1", "2026-05-30T10:00:00Z", 400_000),
        feed.purchase("Key", "p2", "2026-05-30T10:00:00Z", 400_000),
        *(feed.purchase("quiet", f"q{n}", f"2026-01-0{n}T10:00:00Z", 1_000) for n in (1, 2, 3)),
        feed.purchase("old", "o1", "2024-01-10T10:00:00Z", 5_000),
        feed.purchase("back", "b1", "2025-01-10T10:00:00Z", 5_000),
        feed.purchase("back", "b2", "2026-05-10T10:00:00Z", 5_000),
    )
    async with running(app) as client:
        client.headers.update(await credential(conn, *SCOPES))
        yield client


async def ids(client: httpx.AsyncClient, **filters: Any) -> list[str]:
    answer = await client.get("/v1/members", params=filters)
    assert answer.status_code == 200, answer.text
    return [item["member_id"] for item in answer.json()["items"]]


async def test_a_list_tells_what_members_are(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/members")
    listed = {item.pop("member_id"): item for item in answer.json()["items"]}
    assert list(listed) == ["Key", "back", "interested", "key", "old", "quiet"], "as bytes sort; tomorrow is unknown"
    calm: dict[str, Any] = {"at_risk_since": None, "reactivated_on": None}
    nothing = {"abc": None, "contact_person": None}
    assert listed["key"] == {"level": "gold", "lifecycle": {"status": "neukunde", **calm}, **nothing}
    assert listed["quiet"]["lifecycle"] == {"status": "bestandskunde", **calm, "at_risk_since": "2026-03-04"}
    assert listed["back"]["lifecycle"] == {"status": "bestandskunde", **calm, "reactivated_on": "2026-05-10"}
    assert (answer.json()["date"], answer.json()["abc_date"]) == ("2026-06-01", None)


async def test_filters(client: httpx.AsyncClient) -> None:
    assert await ids(client, level="gold") == ["Key", "key"]
    assert await ids(client, lifecycle="altkunde") == ["old"]
    assert await ids(client, level="gold", lifecycle="altkunde") == []
    assert await ids(client, at_risk=True) == ["quiet"]
    assert await ids(client, reactivated=True) == ["back"]
    assert await ids(client, date="2026-06-02", lifecycle="interessent") == ["interested", "tomorrow"]
    assert await ids(client, date="2024-01-10") == ["old"]
    answer = await client.get("/v1/members", params={"abc": "A"})
    assert (answer.status_code, answer.json()["code"]) == (404, "snapshot_not_found")
    await client.post("/v1/segments/snapshots", json={})
    assert await ids(client, abc="A") == ["Key", "key"]
    assert await ids(client, abc="C") == ["back", "quiet"]
    for wrong in ({"level": "platinum"}, {"abc": "D"}, {"cursor": "x"}, {"limit": 201}, {"date": "2026-02-30"}):
        assert (await client.get("/v1/members", params=wrong)).status_code == 422, wrong


@pytest.mark.parametrize("at_once", [1, 2, 5, 6, 100])
async def test_pages_together_are_the_list(
    at_once: int, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However few members a call examines, and though members come meanwhile."""
    monkeypatch.setattr(service, "EXAMINED_AT_ONCE", at_once)
    for filters, expected in (
        ({"lifecycle": "bestandskunde"}, ["back", "quiet"]),
        ({}, ["Key", "back", "interested", "key", "old", "quiet"]),
    ):
        found, cursor = [], None
        for _ in range(10):
            params: dict[str, Any] = {"limit": 2, **({"cursor": cursor} if cursor else {}), **filters}
            page = (await client.get("/v1/members", params=params)).json()
            found += [item["member_id"] for item in page["items"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert found == expected


async def test_the_csv_is_the_list(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "EXAMINED_AT_ONCE", 4)
    await client.post("/v1/segments/snapshots", json={})
    name = 'Ada "Ä" Müller, Filiale 7'
    await client.put("/v1/members/key/contact-person", json={"name": name})
    answer = await client.get("/v1/members.csv", params={"level": "gold"})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert list(csv.reader(io.StringIO(answer.text))) == [
        ["member_id", "level", "lifecycle", "at_risk_since", "reactivated_on", "abc", "contact_person"],
        ["Key", "gold", "neukunde", "", "", "A", ""],
        ["key", "gold", "neukunde", "", "", "A", name],
    ]
    everything = (await client.get("/v1/members.csv")).text.splitlines()
    assert [line.split(",")[0] for line in everything[1:]] == ["Key", "back", "interested", "key", "old", "quiet"]


async def test_a_key_account_gets_a_contact_person(client: httpx.AsyncClient) -> None:
    path = "/v1/members/{}/contact-person"
    ada = {"name": "Ada Müller", "email": "ada@example.com"}
    answer = await client.put(path.format("key"), json=ada)
    assert (answer.status_code, answer.json()["code"]) == (409, "no_key_account"), "no snapshot, no key account"
    await client.post("/v1/segments/snapshots", json={})
    answer = await client.put(path.format("key"), json=ada)
    assert answer.json() == {**ada, "assigned_at": "2026-06-01T12:00:00Z"}
    assert await ids(client, abc="A", contact_person=False) == ["Key"]
    assert await ids(client, contact_person=True) == ["key"]
    status = (await client.get("/v1/members/key/status")).json()
    assert status["contact_person"] == answer.json()
    assert status["abc"] == {"abc": "A", "date": "2026-06-01"}
    assert (await client.put(path.format("key"), json={"name": "Bo"})).json()["email"] is None
    assert (await client.put(path.format("back"), json=ada)).status_code == 409, "class C"
    assert (await client.put(path.format("nobody"), json=ada)).status_code == 404
    assert [(await client.delete(path.format("key"))).status_code for _ in range(2)] == [204, 204]
    assert await ids(client, contact_person=True) == []
    assert (await client.delete(path.format("nobody"))).status_code == 404


async def test_of_an_erased_member_nothing_is_told_and_nobody_is_named(
    client: httpx.AsyncClient, conn: asyncpg.Connection, feed: Any
) -> None:
    await client.post("/v1/segments/snapshots", json={})
    await client.put("/v1/members/key/contact-person", json={"name": "Ada"})
    await feed(feed.erased("key"))
    assert await conn.fetchval("SELECT count(*) FROM contact_person") == 0
    assert await ids(client, level="gold") == ["Key"]
    assert "key," not in (await client.get("/v1/segments/snapshots/2026-06-01/members.csv")).text
    assert (await client.get("/v1/members/key/status")).status_code == 404


@pytest.mark.parametrize("name", ["", "=HYPERLINK(1)", "+49", "@x", "-x", " Ada", "1st", "A\nB", "x" * 101])
async def test_what_is_no_name(name: str, client: httpx.AsyncClient) -> None:
    answer = await client.put("/v1/members/key/contact-person", json={"name": name})
    assert answer.status_code == 422


async def test_scopes(client: httpx.AsyncClient, conn: asyncpg.Connection) -> None:
    other = await credential(conn, "members:read", "members:write", client="shop")
    for method, path in (("GET", "/v1/members"), ("GET", "/v1/members.csv"), ("PUT", "/v1/members/key/contact-person")):
        answer = await client.request(method, path, headers=other, json={"name": "Ada"} if method == "PUT" else None)
        assert answer.status_code == 403, path
