"""Events into the ledger, on a real database with the real migrations."""

import json
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from eventing.envelope import new_message
from eventing.records import Message
from loyalty.audit.state import states
from loyalty.audit.verify import verify
from loyalty.subscriptions import CUSTOMER_STATUS, PURCHASES
from programme.facts import PURCHASE_COMPLETED, PURCHASE_RETURNED
from programme.instants import parse_instant
from programme.terms import Programme
from programme.timeline import CUSTOMER_STATUS_CHANGED

Post = Callable[..., Awaitable[None]]

CASES_FILE = Path(__file__).parents[3] / "contracts" / "conformance" / "cases.jsonl"
CASES = [json.loads(line) for line in CASES_FILE.read_text().splitlines()]
COMPARED = ("member_id", "purchases", "earned", "bonus", "expired", "digest")


def message(topic: str, type: str, data: dict[str, Any]) -> Message:
    return new_message(topic, type=type, source="urn:test", key=data["member_id"], data=json.dumps(data).encode())


def bought(purchase_id: str, cents: int, at: str = "2026-03-03T12:00:00Z", member_id: str = "M1") -> Message:
    line = {"line": 1, "product_class": "goods", "quantity": 1, "amount_cents": cents}
    data = {"purchase_id": purchase_id, "member_id": member_id, "occurred_at": at, "currency": "EUR", "lines": [line]}
    return message(PURCHASES, PURCHASE_COMPLETED, data)


def returned(return_id: str, of: str, cents: int, member_id: str = "M1") -> Message:
    line = {"line": 1, "product_class": "goods", "quantity": 1, "amount_cents": cents}
    data = {"return_id": return_id, "purchase_id": of, "member_id": member_id, "lines": [line], "complete": False}
    return message(PURCHASES, PURCHASE_RETURNED, data | {"occurred_at": "2026-03-04T12:00:00Z"})


def timeline(events: int, steps: list[dict[str, Any]], member_id: str = "M1") -> Message:
    data = {"member_id": member_id, "generation": 1, "events": events, "timeline": steps}
    return message(CUSTOMER_STATUS, CUSTOMER_STATUS_CHANGED, data)


SILVER_IN_MARCH: list[dict[str, Any]] = [
    {"after": None, "level": "basis"},
    {"after": "2026-03-01T00:00:00Z", "level": "silver"},
]


async def entries(conn: asyncpg.Connection) -> list[tuple[Any, ...]]:
    rows = await conn.fetch(
        "SELECT entry_no, kind, points, purchase_id, cause_id FROM ledger_entry ORDER BY account_no, entry_no"
    )
    return [tuple(row) for row in rows]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["case"])
async def test_conformance_in_any_order_with_repeats(
    case: dict[str, Any], post: Post, conn: asyncpg.Connection, programme: Programme
) -> None:
    """Purchases and returns shuffled, repeated and cut into batches, timelines in between, the last one last."""
    chance = random.Random(case["case"])
    events = [message(PURCHASES, event["type"], event["data"]) for event in case["events"]]
    timelines = [timeline(n, member["timeline"], member["member_id"]) for n, member in enumerate(case["expect"])]
    events += chance.sample(events, min(3, len(events)))
    chance.shuffle(events)
    while events:
        size = chance.randint(1, 5)
        await post(*events[:size])
        del events[:size]
        if chance.random() < 0.3:
            await post(*timelines)
    await post(*timelines)

    now_us = parse_instant(case["now"])
    found = {state.member_id: state async for state in states(conn, programme, now_us, now_us)}
    assert {name: {key: getattr(state, key) for key in COMPARED} for name, state in found.items()} == {
        member["member_id"]: {key: member[key] for key in COMPARED} for member in case["expect"]
    }
    report = await verify(conn, programme)
    assert report.is_clean, "\n".join(report.lines())


async def test_late_timeline_itemises_what_it_changes(post: Post, conn: asyncpg.Connection) -> None:
    await post(bought("p1", 1990, at="2026-02-28T12:00:00Z"), bought("p2", 4000))
    await post(timeline(2, SILVER_IN_MARCH))
    assert await entries(conn) == [
        (1, "purchase", 19, "p1", None),
        (2, "purchase", 40, "p2", None),
        (3, "level", 4, "p2", "timeline 1.2"),
    ]


async def test_entries_do_not_depend_on_batches(post: Post, conn: asyncpg.Connection) -> None:
    """Two batches of the same events for two members post the same entries as one batch."""
    facts = [("p1", 2190), ("p2", 4000), ("p1", 2190)]
    await post(*[bought(name, cents, member_id="M1") for name, cents in facts], returned("r1", "p1", 2100))
    for name, cents in facts:
        await post(bought(name, cents, member_id="M2"))
    await post(returned("r1", "p1", 2100, member_id="M2"))
    found = await entries(conn)
    assert found[:3] == found[3:]


async def test_other_content_under_a_known_key_is_a_dead_letter(post: Post, conn: asyncpg.Connection) -> None:
    await post(bought("p1", 2190))
    await post(bought("p1", 2191), bought("p2", 100))
    assert await conn.fetchval("SELECT reason FROM dead_letter") == "conflict"
    assert await conn.fetchval("SELECT balance_points FROM account") == 22


async def test_return_of_spent_points_leaves_a_negative_balance(post: Post, conn: asyncpg.Connection) -> None:
    await post(bought("p1", 50_000))
    await conn.execute("UPDATE account SET balance_points = balance_points - 500")
    await post(returned("r1", "p1", 10_000))
    assert await conn.fetchval("SELECT balance_points FROM account") == -100


async def test_posted_points_are_published_with_the_versions_of_the_account(
    post: Post, conn: asyncpg.Connection
) -> None:
    await post(bought("p1", 2190), bought("p2", 100))
    await post(bought("p3", 100))
    assert await conn.fetchval("SELECT sum(message_count) FROM outbox") == 2
    assert await conn.fetchval("SELECT last_event_no FROM account") == 2


@pytest.mark.parametrize(
    "change", ["UPDATE ledger_entry SET points = 1", "DELETE FROM ledger_entry", "TRUNCATE ledger_entry"]
)
async def test_the_application_cannot_change_the_ledger(post: Post, conn: asyncpg.Connection, change: str) -> None:
    await post(bought("p1", 2190))
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await conn.execute(change)


DAMAGES = {
    "a position": "UPDATE purchase_position SET posted_points = posted_points + 1",
    "a rate": "UPDATE purchase_position SET bonus_percent = 20",
    "a returned sum": "UPDATE purchase_position SET returned_cents = 5",
    "a balance": "UPDATE account SET balance_points = balance_points + 1",
    "an entry number": "UPDATE account SET last_entry_no = last_entry_no + 1",
    "the points by year": "UPDATE account SET points_by_year = '{}'",
    "a waiting return": "UPDATE account SET waiting_returns = 1",
    "an outbox row left behind": "INSERT INTO outbox (messages, message_count, created_at)"
    " VALUES ('', 0, now() - interval '1 minute')",
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
async def test_verify_notices_damage(post: Post, conn: asyncpg.Connection, programme: Programme, damage: str) -> None:
    await post(bought("p1", 2190), bought("p2", 5000), returned("r1", "p2", 500))
    assert (await verify(conn, programme)).is_clean
    await conn.execute(damage)
    assert not (await verify(conn, programme)).is_clean


async def test_verify_tells_of_a_purchase_under_two_members(
    post: Post, conn: asyncpg.Connection, programme: Programme
) -> None:
    await post(bought("p1", 2190), bought("p1", 2190, member_id="M2"))
    report = await verify(conn, programme)
    assert report.is_clean, "\n".join(report.lines())
    assert report.anomaly("purchase_id under two members").examples == ["p1"]
