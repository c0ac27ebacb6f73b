"""Everything customer-status holds about a member, in one document."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx
import pytest
from customer_status.export import service
from customer_status.main import build
from customer_status.parameters import now_us
from customer_status.settings import ApiSettings
from devstack import ServiceDatabase
from programme.instants import parse_instant
from programme.terms import Programme
from webapi.testing import credential, running

NOW = parse_instant("2026-06-02T12:00:00Z")
AT = "2026-06-01T12:00:00Z"
SCOPES = (
    "members:erase",
    "segments:write",
    "contact-persons:write",
    "offers:write",
    "claims:write",
    "consents:write",
)
KEPT_ELSEWHERE = {
    "api_key",
    "alembic_version",
    "contact_watch",  # when to look at the member again
    "dead_letter",
    "event_progress",
    "failed_attempt",
    "forgotten",
    "forgotten_check",
    "idempotency_key",
    "offer",
    "offer_slot",
    "outbox",
    "segment_snapshot",
    "terms",
}
"""Tables that say nothing of a member, or only what others of them say."""
EXPORTED = {
    "consent": "consents",
    "contact": "contacts",
    "contact_notice": "notices",
    "contact_person": "contact_person",
    "member": "member_id",
    "offer_claim": "claims",
    "purchase": "purchases",
    "purchase_return": "returns",
    "segment_snapshot_member": "snapshots",
    "survey": "surveys",
}
# What the job and the notices of loyalty write.
_BY_THE_WORKER = """
    WITH contact AS (
        INSERT INTO contact (account_no, kind, cause, level, told_at, channels)
        SELECT account_no, 'level_won', 'gold', 'gold', now(), '{email}' FROM member WHERE member_id = 'M1'
    ),
    notice AS (
        INSERT INTO contact_notice (account_no, kind, cause, event_no, received_at, ends_at, reason)
        SELECT account_no, 'points_expiring', '2029', 1, now(), now(), '{"points": 5}' FROM member
        WHERE member_id = 'M1'
    )
    INSERT INTO survey (survey_id, account_no, purchase_id, best_score, asked_at, score, answered_at)
    SELECT 's1', account_no, 'p1', 10, now(), 9, now() FROM member WHERE member_id = 'M1'"""


@pytest.fixture
async def client(
    database: ServiceDatabase, programme: Programme, conn: asyncpg.Connection, feed: Any
) -> AsyncIterator[httpx.AsyncClient]:
    """M1 with a row in every table, and M2, of whom nothing must be told."""
    app = build(ApiSettings(database_url=database.app_url), programme)
    app.dependency_overrides[now_us] = lambda: NOW
    await feed(feed.joined("M1", "2026-05-01T10:00:00Z"))
    await feed(
        feed.purchase("M1", "p1", AT, 400_000),
        feed.purchase("M2", "other", AT, 100),
        feed.return_("M1", "r1", AT, of="p1", cents=100),
    )
    async with running(app) as client:
        client.headers.update(await credential(conn, *SCOPES))
        await client.post("/v1/segments/snapshots", json={}, headers={"Idempotency-Key": "k1"})
        person = {"name": "Ann", "email": "ann@example.org"}
        offer = {"kind": "discount", "title": "Ten percent", "least_level": "gold"}
        offer |= {"opens_at": AT, "closes_at": "2026-07-01T00:00:00Z"}
        consent = {"channel": "email", "granted": True, "source": "shop", "decided_at": AT}
        made = await client.post("/v1/offers", json=offer, headers={"Idempotency-Key": "k2"})
        for answer in (
            made,
            await client.put("/v1/members/M1/contact-person", json=person),
            await client.put("/v1/members/M1/consent", json={"consents": [consent]}),
            await client.post(
                f"/v1/offers/{made.json()['offer_id']}/claims",
                json={"member_id": "M1"},
                headers={"Idempotency-Key": "k3"},
            ),
        ):
            assert answer.is_success, answer.text
        await conn.execute(_BY_THE_WORKER)
        yield client


async def test_it_holds_everything_that_is_stored(client: httpx.AsyncClient, conn: asyncpg.Connection) -> None:
    answer = await client.get("/v1/members/M1/export")
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (told["exported_at"], told["member_id"]) == ("2026-06-02T12:00:00Z", "M1")
    assert told["joined_at"] == "2026-05-01T10:00:00Z"
    assert [step["level"] for step in told["timeline"]] == ["basis", "gold", "basis"]
    [purchase], [back] = told["purchases"], told["returns"]
    assert (purchase["purchase_id"], purchase["cents_by_class"], purchase["returned_cents"]) == (
        "p1",
        {"goods": 400_000},
        100,
    )
    assert (back["return_id"], back["purchase_id"], back["complete"]) == ("r1", "p1", False)
    assert [(each["title"], each["level"], each["cancelled_at"]) for each in told["claims"]] == [
        ("Ten percent", "gold", None)
    ]
    assert [(each["channel"], each["granted"], each["decided_at"]) for each in told["consents"]] == [
        ("email", True, AT)
    ]
    assert [(each["kind"], each["channels"]) for each in told["contacts"]] == [("level_won", ["email"])]
    assert [each["reason"] for each in told["notices"]] == [{"points": 5}]
    assert [(each["purchase_id"], each["score"]) for each in told["surveys"]] == [("p1", 9)]
    assert told["contact_person"]["name"] == "Ann"
    assert told["snapshots"] == [
        {"date": "2026-06-02", "level": "gold", "lifecycle": "neukunde", "abc": "A", "revenue_cents": 399_900}
    ]
    rows = await conn.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    tables = {row["tablename"] for row in rows}
    assert tables == KEPT_ELSEWHERE | EXPORTED.keys(), "a new table: is it exported?"
    assert all(told[name] for name in EXPORTED.values())


async def test_of_nobody_and_of_an_erased_member_there_is_none(client: httpx.AsyncClient, feed: Any) -> None:
    assert (await client.get("/v1/members/nobody/export")).json()["code"] == "member_not_found"
    await feed(feed.erased("M1"))
    gone = await client.get("/v1/members/M1/export")
    assert (gone.status_code, gone.json()["code"]) == (404, "member_not_found")


async def test_it_has_an_upper_bound(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MOST_ROWS", 7)
    refused = await client.get("/v1/members/M1/export")
    assert (refused.status_code, refused.json()["code"], refused.json()["rows"]) == (409, "export_too_large", 8)
