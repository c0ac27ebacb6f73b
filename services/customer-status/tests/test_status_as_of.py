"""A member's status at any instant, past and future, is what the rules make of what had happened by then."""

import json
import random
from collections import defaultdict
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from customer_status.main import build
from customer_status.parameters import now_us
from customer_status.settings import ApiSettings
from customer_status.status import store
from customer_status.status.api import StatusBody
from customer_status.status.domain import ToldStep, benefits_of, told_steps
from customer_status.status.levels import status_at
from devstack import ServiceDatabase
from programme.benefit_terms import OFFER_KINDS, OfferTerms
from programme.calendar import civil_day
from programme.facts import Purchase, Return
from programme.instants import parse_instant
from programme.lifecycle import Standing, standing_on
from programme.points import remaining_cents, total_cents
from programme.state import state_of
from programme.terms import LEVELS, Programme
from webapi.testing import credential, running

NOW = parse_instant("2026-11-22T00:00:00Z")
DAY_US = 86_400_000_000


def standing(programme: Programme, facts: list[Purchase | Return], at_us: int) -> Standing:
    """Rules 3.12 from the events of one member."""
    bought = {fact.purchase_id: fact for fact in facts if isinstance(fact, Purchase)}
    back = defaultdict(list)
    for fact in facts:
        if isinstance(fact, Return):
            back[fact.purchase_id].append(fact)
    days = {
        civil_day(purchase.occurred_us)
        for purchase_id, purchase in bought.items()
        if remaining_cents(
            total_cents(purchase.cents_by_class),
            sum(total_cents(fact.cents_by_class) for fact in back[purchase_id]),
            any(fact.complete for fact in back[purchase_id]),
        )
    }
    return standing_on(programme.at(at_us).lifecycle, sorted(days), civil_day(at_us))


def check_steps(steps: list[ToldStep]) -> None:
    """Every step but the first has its causes, and they are of its instant or a year before it."""
    assert (steps[0].reason, steps[0].causes) == ("start", ())
    for before, step in pairwise(steps):
        assert step.causes, step
        rises = LEVELS.index(step.level) > LEVELS.index(before.level)
        assert rises == (step.reason == "collected")
        assert {cause.kind for cause in step.causes} == {"return" if step.reason == "returned" else "purchase"}
        for cause in step.causes:
            assert step.after_us is not None
            age = step.after_us - cause.occurred_us
            assert age == 0 if step.reason == "collected" else age >= 0
            assert step.reason != "lapsed" or 364 * DAY_US < age <= 367 * DAY_US


async def test_every_conformance_case_at_any_instant(
    contracts: Path, conn: asyncpg.Connection, programme: Programme, feed: Any, facts_of: Callable[..., Any]
) -> None:
    """All cases at once; instants exactly at events and beside them, at midnights, and years later."""
    rng = random.Random(12)
    cases = [json.loads(line) for line in (contracts / "conformance" / "cases.jsonl").read_text().splitlines()]
    records = []
    for number, case in enumerate(cases):
        for event in case["events"]:
            member_id = f"{number:02}-{event['data']['member_id']}"
            records.append(feed.record(event["type"], event["data"] | {"member_id": member_id}))
    await feed(*records)
    facts: defaultdict[str, dict[Any, Purchase | Return]] = defaultdict(dict)
    for fact in facts_of(records):
        key = (type(fact), fact.purchase_id if isinstance(fact, Purchase) else fact.return_id)
        facts[fact.member_id].setdefault(key, fact)
    reasons = set()
    for member_id, by_key in facts.items():
        history = list(by_key.values())
        events = [fact.occurred_us + beside for fact in history for beside in (-1, 0, 1)]
        instants = [*rng.sample(events, min(9, len(events))), NOW, NOW + rng.randrange(1, 1_200) * DAY_US]
        for at_us in instants:
            found = await store.find_member(conn, member_id, civil_day(at_us))
            assert found is not None
            known = found.known.at(programme, at_us)
            happened = [fact for fact in history if fact.occurred_us <= at_us]
            judged = state_of(programme, happened, at_us)
            if not judged:
                assert known is None
                continue
            assert known is not None
            assert known.timeline == judged[0].timeline, (member_id, at_us)
            assert status_at(programme, known.timeline, known.purchases, at_us).level == judged[0].level
            assert known.standing(programme, at_us) == standing(programme, happened, at_us)
            steps = told_steps(known)
            assert [(step.after_us, step.level) for step in steps] == [tuple(step) for step in known.timeline]
            check_steps(steps)
            reasons |= {step.reason for step in steps}
    assert reasons == {"start", "collected", "returned", "lapsed"}


@pytest.fixture
async def client(database: ServiceDatabase, programme: Programme, conn: asyncpg.Connection, feed: Any) -> Any:
    app = build(ApiSettings(database_url=database.app_url), programme)
    app.dependency_overrides[now_us] = lambda: NOW
    await feed(feed.joined("M1", "2025-12-01T10:00:00Z"))
    await feed(
        feed.purchase("M1", "p1", "2026-03-01T10:00:00Z", 120_000),
        feed.return_("M1", "r1", "2026-04-01T10:00:00Z", of="p1", cents=50_000),
    )
    async with running(app) as client:
        client.headers.update(await credential(conn, "members:read"))
        yield client


async def status(client: httpx.AsyncClient, at: str | None) -> dict[str, Any]:
    answer = await client.get("/v1/members/M1/status", params={} if at is None else {"at": at})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    assert StatusBody.model_validate_json(answer.content).model_dump(mode="json") == body, "as it is described"
    return body


async def test_over_http_before_between_and_after(client: httpx.AsyncClient) -> None:
    joined = await status(client, "2026-01-01T00:00:00+01:00")
    assert (joined["level"], joined["lifecycle"]["status"]) == ("basis", "interessent")
    silver = await status(client, "2026-03-15T00:00:00Z")
    assert (silver["level"], silver["bonus_percent"], silver["collected_points"]) == ("silver", 10, 1_200)
    assert [step["reason"] for step in silver["timeline"]] == ["start", "collected", "lapsed"], "as it was to be then"
    now = await status(client, None)
    assert (now["level"], now["collected_points"], now["lifecycle"]["status"]) == ("basis", 700, "bestandskunde")
    assert [(step["reason"], [cause["id"] for cause in step["causes"]]) for step in now["timeline"]] == [
        ("start", []),
        ("collected", ["p1"]),
        ("returned", ["r1"]),
    ]
    later = await status(client, "2027-06-01T00:00:00Z")
    assert (later["collected_points"], later["lifecycle"]["status"]) == (0, "altkunde")


async def test_benefits_are_those_of_the_level_at_that_instant(client: httpx.AsyncClient) -> None:
    """At the instant of the purchase that crosses the threshold, and of the return, the level before still holds."""
    for at, benefits in (
        ("2026-03-01T10:00:00Z", []),
        ("2026-03-01T10:00:00.000001Z", ["discount"]),
        ("2026-04-01T10:00:00Z", ["discount"]),
        ("2026-04-01T10:00:00.000001Z", []),
    ):
        assert (await status(client, at))["benefits"] == benefits, at


@pytest.mark.parametrize(("least", "of_silver"), [("silver", list(OFFER_KINDS)), ("gold", [])])
def test_benefits_follow_the_terms(least: Any, of_silver: list[str]) -> None:
    terms = OfferTerms(least_level=dict.fromkeys(OFFER_KINDS, least))
    assert [benefits_of(level, terms) for level in LEVELS] == [[], of_silver, list(OFFER_KINDS)]


async def test_the_class_and_the_contact_person_are_told_as_described(
    client: httpx.AsyncClient, conn: asyncpg.Connection
) -> None:
    assert (await status(client, None))["abc"] is None
    await conn.execute("INSERT INTO segment_snapshot (snapshot_date, segments, digest) VALUES ('2026-11-01', '[]', '')")
    assert (await status(client, None))["abc"] == {"abc": None, "date": "2026-11-01"}, "not in the snapshot"
    await conn.execute(
        """INSERT INTO segment_snapshot_member (snapshot_date, account_no, level, lifecycle, abc, revenue_cents)
           SELECT '2026-11-01', account_no, 'basis', 'neukunde', 'B', 1 FROM member"""
    )
    person = "INSERT INTO contact_person SELECT account_no, 'Ann', $1, 'staff', '2026-11-02T10:00:00.5Z' FROM member"
    await conn.execute(person, "ann@example.org")
    told = await status(client, None)
    assert told["abc"] == {"abc": "B", "date": "2026-11-01"}
    assert told["contact_person"] == {
        "name": "Ann",
        "email": "ann@example.org",
        "assigned_at": "2026-11-02T10:00:00.500000Z",
    }
    assert (await status(client, "2026-10-31T12:00:00Z"))["abc"] is None


async def test_before_anything_was_known_and_beyond_the_calendar(client: httpx.AsyncClient) -> None:
    for at, code in (("2025-11-30T00:00:00Z", 404), ("2200-01-01T00:00:00Z", 422), ("2026-01-01", 422), ("now", 422)):
        assert (await client.get("/v1/members/M1/status", params={"at": at})).status_code == code, at
