"""Staff give and take points: what one may decide, what needs a second person, and what it does to every number."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest
from eventing.envelope import new_message
from eventing.outbox import unpack
from httpx import AsyncClient, Response
from loyalty.adjustments.domain import Adjustment, Person, post
from loyalty.audit.state import states
from loyalty.audit.verify import verify
from loyalty.points.account import Account
from loyalty.rebuild import store as rebuild_store
from loyalty.subscriptions import PURCHASES
from programme.calendar import boundary_us
from programme.facts import PURCHASE_COMPLETED
from programme.instants import parse_instant
from programme.terms import Programme
from webapi import keys

Post = Callable[..., Awaitable[None]]
LONG_AGO, LONG_AFTER = "2025-01-01T00:00:00Z", "2090-01-01T00:00:00Z"


@pytest.fixture
async def staff(api: AsyncClient, conn: asyncpg.Connection) -> Callable[[str], dict[str, str]]:
    """`staff("alice")`: the headers of that person's own key."""
    known = {}
    for name in ("alice", "bob"):
        known[name] = keys.new_key()
        await keys.create(conn, known[name], name, frozenset({"adjustments:write"}))
    await api.put("/v1/members/M1")
    return lambda name: {"Authorization": f"Bearer {known[name]}"}


Staff = Callable[[str], dict[str, str]]


async def adjust(api: AsyncClient, headers: dict[str, str], points: int, key: str = "k1", **more: Any) -> Response:
    body = {"points": points, "reason": "goodwill", "text": "The parcel came late"} | more
    return await api.post("/v1/members/M1/adjustments", json=body, headers=headers | {"Idempotency-Key": key})


async def decide(api: AsyncClient, headers: dict[str, str], adjustment_id: int, verb: str = "approve") -> Response:
    return await api.post(f"/v1/adjustments/{adjustment_id}/{verb}", headers=headers)


async def balance(api: AsyncClient, **clocks: str) -> int:
    points: int = (await api.get("/v1/members/M1", params=clocks)).json()["balance_points"]
    return points


async def test_points_given_and_taken_are_in_every_number(
    api: AsyncClient, staff: Staff, conn: asyncpg.Connection, programme: Programme
) -> None:
    given = await adjust(api, staff("alice"), 300)
    taken = await adjust(api, staff("alice"), -120, key="k2", reason="correction")
    assert (given.status_code, taken.status_code) == (201, 201)
    assert given.json()["state"] == "posted"
    assert await balance(api) == 180
    entries = (await api.get("/v1/members/M1/entries")).json()["items"]
    assert [(entry["kind"], entry["points"]) for entry in entries] == [("adjustment", -120), ("adjustment", 300)]
    assert entries[0]["cause"]["text"] == f"adjustment {taken.json()['adjustment_id']} by staff, correction: -120"
    [state] = [each async for each in states(conn, programme, None, None, parse_instant("2026-11-22T00:00:00Z"))]
    assert (state.balance, state.adjusted, state.earned, state.spent) == (180, 180, 0, 0)
    report = await verify(conn, programme)
    assert report.is_clean, "\n".join(report.lines())
    packed = await conn.fetch("SELECT messages FROM outbox ORDER BY outbox_id")
    told = [
        json.loads(m.value or b"") for row in packed for m in unpack(row["messages"]) if b"entries" in (m.value or b"")
    ]
    assert [entry["kind"] for each in told for entry in each["entries"]] == ["adjustment", "adjustment"]


async def test_both_clocks_leave_out_what_staff_did_later(api: AsyncClient, staff: Staff) -> None:
    await adjust(api, staff("alice"), 300)
    assert await balance(api, at="2035-01-01T00:00:00Z") == 0, "points of this year have expired by then"
    assert await balance(api, known_at=LONG_AFTER) == 300
    assert (await api.get("/v1/members/M1", params={"known_at": LONG_AGO})).status_code == 404


async def test_a_debit_never_takes_the_balance_below_zero(api: AsyncClient, staff: Staff) -> None:
    await adjust(api, staff("alice"), 300)
    answers = await asyncio.gather(*[adjust(api, staff("alice"), -200, key=f"d{n}") for n in range(5)])
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409, 409]
    refused = next(answer.json() for answer in answers if answer.status_code == 409)
    assert (refused["code"], refused["balance_points"], refused["needed_points"]) == ("insufficient_points", 100, 200)
    assert await balance(api) == 100


async def test_many_points_wait_for_a_second_person(
    api: AsyncClient, staff: Staff, conn: asyncpg.Connection, programme: Programme
) -> None:
    asked = await adjust(api, staff("alice"), 1001)
    number = asked.json()["adjustment_id"]
    assert (asked.status_code, asked.json()["state"], await balance(api)) == (202, "pending", 0)
    listed = (await api.get("/v1/adjustments", headers=staff("bob"))).json()["items"]
    assert [each["adjustment_id"] for each in listed] == [number]
    for verb in ("approve", "reject"):
        own = await decide(api, staff("alice"), number, verb)
        assert (own.status_code, own.json()["code"]) == (403, "second_person_needed")
    approved = await decide(api, staff("bob"), number)
    assert (approved.status_code, approved.json()["decided_by"]["client"], await balance(api)) == (200, "bob", 1001)
    assert (await decide(api, staff("bob"), number)).json() == approved.json()
    late = await decide(api, staff("bob"), number, "reject")
    assert (late.status_code, late.json()["code"]) == (409, "adjustment_decided")
    assert (await api.get("/v1/adjustments", headers=staff("bob"))).json()["items"] == []
    assert (await verify(conn, programme)).is_clean


async def test_what_is_rejected_never_counts(api: AsyncClient, staff: Staff) -> None:
    number = (await adjust(api, staff("alice"), 5000)).json()["adjustment_id"]
    rejected = await decide(api, staff("bob"), number, "reject")
    assert (rejected.status_code, rejected.json()["state"], await balance(api)) == (200, "rejected", 0)
    assert (await decide(api, staff("bob"), number)).json()["code"] == "adjustment_decided"


async def test_a_debit_that_waits_is_refused_once_the_points_are_gone(api: AsyncClient, staff: Staff) -> None:
    for n in range(2):
        await adjust(api, staff("alice"), 1000, key=f"c{n}")
    number = (await adjust(api, staff("alice"), -1500)).json()["adjustment_id"]
    await adjust(api, staff("alice"), -1000, key="meanwhile")
    refused = await decide(api, staff("bob"), number)
    assert (refused.status_code, refused.json()["code"], await balance(api)) == (409, "insufficient_points", 1000)


async def test_asked_again_with_the_same_key_it_happens_once(api: AsyncClient, staff: Staff) -> None:
    first, second = [await adjust(api, staff("alice"), 1500) for _ in range(2)]
    assert (first.status_code, second.status_code, first.json()) == (202, 202, second.json())
    assert second.headers["Idempotency-Replayed"] == "true"
    assert len((await api.get("/v1/adjustments", headers=staff("bob"))).json()["items"]) == 1


async def test_malformed_adjustments_are_422_problems(api: AsyncClient, staff: Staff) -> None:
    for wrong in ({"points": 0}, {"points": 1_000_001}, {"reason": "because"}, {"text": ""}, {"member": "M2"}):
        answer = await adjust(api, staff("alice"), **({"points": 5} | wrong))
        assert (answer.status_code, answer.json()["code"]) == (422, "malformed"), wrong


async def test_unknown_members_and_adjustments_are_404_problems(api: AsyncClient, staff: Staff) -> None:
    body = {"points": 5, "reason": "goodwill", "text": "x"}
    headers = staff("alice") | {"Idempotency-Key": "k"}
    nobody = await api.post("/v1/members/nobody/adjustments", json=body, headers=headers)
    assert nobody.json()["code"] == "member_not_found"
    assert (await decide(api, staff("bob"), 99)).json()["code"] == "adjustment_not_found"


async def test_a_rebuild_sees_what_each_adjustment_posted(
    api: AsyncClient, staff: Staff, conn: asyncpg.Connection
) -> None:
    number = (await adjust(api, staff("alice"), 300)).json()["adjustment_id"]
    [account_no] = [row["account_no"] for row in await conn.fetch("SELECT account_no FROM account")]
    assert await rebuild_store.points_of_adjustments(conn, [account_no]) == {account_no: {number: 300}}
    assert await rebuild_store.points_of_rewards(conn, [account_no]) == {account_no: {}}
    entry = (
        "INSERT INTO ledger_entry (account_no, entry_no, kind, points, cause_id) VALUES ($1, 2, 'rebuild', -300, $2)"
    )
    await conn.execute(entry, account_no, f"adjustment {number}")
    assert await rebuild_store.points_of_adjustments(conn, [account_no]) == {account_no: {number: 0}}
    assert await rebuild_store.points_of_rewards(conn, [account_no]) == {account_no: {}}


async def test_points_given_repay_a_negative_balance(api: AsyncClient, staff: Staff, post: Post) -> None:
    """Purchases and adjustments add up in one balance."""
    line = {"line": 1, "product_class": "goods", "quantity": 1, "amount_cents": 10_000}
    data = {"purchase_id": "p1", "member_id": "M1", "currency": "EUR", "lines": [line]}
    data["occurred_at"] = "2026-11-01T12:00:00Z"
    encoded = json.dumps(data).encode()
    await post(new_message(PURCHASES, type=PURCHASE_COMPLETED, source="urn:test", key="M1", data=encoded))
    await adjust(api, staff("alice"), 50)
    assert await balance(api) == 150


def adjusted(account: Account, points: int, at: str) -> None:
    at_us = parse_instant(at)
    post(account, Adjustment(7, 1, points, "goodwill", None, Person("c", None), at_us), at_us)


def test_points_given_expire_like_a_purchase_of_that_day() -> None:
    account = Account(1, "M1")
    adjusted(account, 100, "2026-12-31T23:30:00+01:00")
    adjusted(account, -30, "2029-12-31T23:30:00+01:00")
    assert account.available_points(boundary_us(2030) - 1) == 70
    assert account.available_points(boundary_us(2030)) == 0
    assert account.points_by_year() == ({2026: 100}, {2029: 30})


def test_points_taken_are_dated_by_the_day_they_were_taken() -> None:
    account = Account(1, "M1", earned_by_year={2026: 100, 2027: 100}, balance_points=200)
    adjusted(account, -150, "2030-06-01T12:00:00+02:00")
    assert [entry.points for entry in account.new_entries] == [-100, -150], "100 had expired before"


@pytest.mark.parametrize(
    ("one", "other", "may_be_the_same"),
    [
        (Person("desk", "alice"), Person("desk", "bob"), False),
        (Person("desk", "alice"), Person("crm", "alice"), True),
        (Person("desk", None), Person("desk", "alice"), True),
        (Person("desk", None), Person("desk", None), True),
        (Person("desk", None), Person("crm", None), False),
    ],
)
def test_who_may_be_one_person(one: Person, other: Person, may_be_the_same: bool) -> None:
    assert one.may_be(other) is other.may_be(one) is may_be_the_same
