"""Segments and their snapshots, as callers see them."""

import hashlib
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

NOW = parse_instant("2026-06-01T12:00:00Z")
SNAPSHOTS = "/v1/segments/snapshots"


@pytest.fixture
async def client(
    database: ServiceDatabase, programme: Programme, conn: asyncpg.Connection, feed: Any
) -> AsyncIterator[httpx.AsyncClient]:
    app = build(ApiSettings(database_url=database.app_url), programme)
    app.dependency_overrides[now_us] = lambda: NOW
    await feed(feed.joined("M0", "2026-05-01T10:00:00Z"))
    await feed(
        feed.purchase("M1", "p1", "2026-05-30T10:00:00Z", 120_000),
        feed.purchase("M2", "p2", "2026-01-10T10:00:00Z", 5_000),
        feed.purchase("M3", "p3", "2024-01-10T10:00:00Z", 5_000),
        feed.return_("M2", "r2", "2026-02-01T10:00:00Z", of="p2", cents=1_000),
    )
    async with running(app) as client:
        client.headers.update(await credential(conn, "segments:read", "segments:write"))
        yield client


def segment(level: str, lifecycle: str, abc: str | None, members: int, cents: int) -> dict[str, Any]:
    return {"level": level, "lifecycle": lifecycle, "abc": abc, "members": members, "revenue_cents": cents}


TODAY = [
    segment("basis", "altkunde", None, 1, 0),
    segment("basis", "bestandskunde", "C", 1, 4_000),
    segment("basis", "interessent", None, 1, 0),
    segment("silver", "neukunde", "A", 1, 120_000),
]


async def test_segments_of_today_and_of_a_day_in_the_past(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/segments")
    assert answer.json() == {"date": "2026-06-01", "members": 4, "revenue_cents": 124_000, "segments": TODAY}
    answer = await client.get("/v1/segments", params={"date": "2026-01-31"})
    assert answer.json()["segments"] == [
        segment("basis", "altkunde", None, 1, 0),
        segment("basis", "neukunde", "A", 1, 5_000),
    ]
    # In the future only time goes on: nobody is new for ever.
    answer = await client.get("/v1/segments", params={"date": "2026-12-24"})
    assert {each["lifecycle"] for each in answer.json()["segments"]} == {"altkunde", "bestandskunde", "interessent"}


async def test_the_same_data_gives_the_same_snapshot_byte_for_byte(client: httpx.AsyncClient, feed: Any) -> None:
    first = await client.post(SNAPSHOTS, json={})
    again = await client.post(SNAPSHOTS, json={"date": "2026-06-01"})
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.content == again.content == (await client.get(f"{SNAPSHOTS}/2026-06-01")).content
    assert first.json()["segments"] == TODAY
    csv = await client.get(f"{SNAPSHOTS}/2026-06-01/members.csv")
    assert csv.text.splitlines() == [
        "member_id,level,lifecycle,abc,revenue_cents",
        "M0,basis,interessent,,0",
        "M1,silver,neukunde,A,120000",
        "M2,basis,bestandskunde,C,4000",
        "M3,basis,altkunde,,0",
    ]
    assert hashlib.sha256(csv.content).hexdigest() == first.json()["digest"]
    # A till that was offline tells of May: the snapshot stays as it is until it is taken again.
    await feed.bought("M3", "late", "2026-05-02T10:00:00Z", 50_000)
    assert (await client.get(f"{SNAPSHOTS}/2026-06-01")).content == first.content
    assert (await client.post(SNAPSHOTS, json={})).json()["digest"] != first.json()["digest"]


async def test_what_cannot_be_asked_for(client: httpx.AsyncClient) -> None:
    answer = await client.post(SNAPSHOTS, json={"date": "2026-06-02"})
    assert (answer.status_code, answer.json()["code"]) == (422, "date_in_the_future")
    for path in ("2026-05-31", "2026-05-31/members.csv"):
        answer = await client.get(f"{SNAPSHOTS}/{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "snapshot_not_found")
    for wrong in ("2026-02-30", "20260530", "1780000000", "1999-12-31", "2101-01-01", "x"):
        answer = await client.get("/v1/segments", params={"date": wrong})
        assert (answer.status_code, answer.json()["code"]) == (422, "malformed"), wrong
        assert (await client.get(f"{SNAPSHOTS}/{wrong}")).status_code == 422
        assert (await client.post(SNAPSHOTS, json={"date": wrong})).status_code == 422


async def test_an_erased_member_is_left_out(client: httpx.AsyncClient, conn: asyncpg.Connection) -> None:
    await client.post(SNAPSHOTS, json={})
    await conn.execute("UPDATE member SET member_id = NULL WHERE member_id = 'M1'")
    csv = await client.get(f"{SNAPSHOTS}/2026-06-01/members.csv")
    assert [line.split(",")[0] for line in csv.text.splitlines()] == ["member_id", "M0", "M2", "M3"]
    answer = await client.get("/v1/segments")
    assert (answer.json()["members"], answer.json()["revenue_cents"]) == (3, 4_000)


async def test_scopes(client: httpx.AsyncClient, conn: asyncpg.Connection) -> None:
    reader = await credential(conn, "segments:read", client="reader")
    assert (await client.post(SNAPSHOTS, json={}, headers=reader)).status_code == 403
    other = await credential(conn, "members:read", client="other")
    assert (await client.get("/v1/segments", headers=other)).status_code == 403
