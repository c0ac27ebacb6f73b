"""Events into the ledger, on a real database with the real migrations."""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from devstack import ServiceDatabase
from eventing.envelope import new_message
from eventing.outbox import unpack
from eventing.records import Message
from loyalty.audit.state import states
from loyalty.audit.verify import verify
from loyalty.rewards.service import spend
from loyalty.subscriptions import CUSTOMER_STATUS, PURCHASES
from loyalty.vouchers.codes import parse_keys
from loyalty.vouchers.service import Vouchers
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


async def spend_500(conn: asyncpg.Connection, programme: Programme) -> None:
    async with conn.transaction():
        vouchers = Vouchers(programme, parse_keys("1:" + "42" * 32))
        await spend(conn, programme, vouchers, "M1", "voucher-5", parse_instant("2026-03-04T12:00:00Z"))


SILVER_IN_MARCH: list[dict[str, Any]] = [
    {"after": None, "level": "basis"},
    {"after": "2026-03-01T00:00:00Z", "level": "silver"},
]


async def entries(conn: asyncpg.Connection) -> list[tuple[Any, ...]]:
    rows = await conn.fetch(
        "SELECT entry_no, kind, points, purchase_id, cause_id FROM ledger_entry ORDER BY account_no, entry_no"
    )
    return [tuple(row) for row in rows]


async def test_repeats_among_repeats_wait_for_nobody(
    post: Post, database: ServiceDatabase, conn: asyncpg.Connection
) -> None:
    """After a batch of repeats the next ones are found out without a lock, and what is new among them is posted."""
    events = [bought("p1", 2190), returned("r1", "p1", 1000), bought("p2", 4000)]
    await post(*events)
    await post(*events)
    other = await asyncpg.connect(database.app_url)
    try:
        async with other.transaction():
            await other.execute("SELECT FROM account WHERE member_id = 'M1' FOR UPDATE")
            await asyncio.wait_for(post(bought("p1", 2190), bought("p2", 4000)), 5)
    finally:
        await other.close()
    await post(bought("p1", 2190), bought("p1", 2191), bought("p3", 300), returned("r1", "p1", 1000))
    assert await entries(conn) == [
        (1, "purchase", 21, "p1", None),
        (2, "return", -10, "p1", "r1"),
        (3, "purchase", 40, "p2", None),
        (4, "purchase", 3, "p3", None),
    ]
    assert await conn.fetchval("SELECT array_agg(reason) FROM dead_letter") == ["conflict"]


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
    found = {state.member_id: state async for state in states(conn, programme, now_us, None, now_us)}
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
    """The same events in one batch, one by one, and cut in the middle post the same entries."""
    for member, sizes in (("M1", [5]), ("M2", [1] * 5), ("M3", [2, 3])):
        events = [
            bought("p1", 2190, member_id=member),
            returned("r1", "p1", 1000, member_id=member),
            bought("p2", 4000, member_id=member),
            bought("p1", 2190, member_id=member),
            returned("r2", "p1", 1190, member_id=member),
        ]
        for size in sizes:
            await post(*events[:size])
            del events[:size]
    expected = [
        (1, "purchase", 21, "p1", None),
        (2, "return", -10, "p1", "r1"),
        (3, "purchase", 40, "p2", None),
        (4, "return", -11, "p1", "r2"),
    ]
    assert await entries(conn) == expected * 3


async def test_other_content_under_a_known_key_is_a_dead_letter(post: Post, conn: asyncpg.Connection) -> None:
    await post(bought("p1", 2190))
    await post(bought("p1", 2191), bought("p2", 100))
    assert await conn.fetchval("SELECT reason FROM dead_letter") == "conflict"
    assert await conn.fetchval("SELECT balance_points FROM account") == 22


async def test_a_known_key_that_comes_again_with_a_later_date_is_a_conflict_like_any_other(
    post: Post, conn: asyncpg.Connection
) -> None:
    """A purchase later than all of its member's is taken for new; here the primary key says that it is not."""
    await post(bought("p1", 2190))
    await post(
        bought("p2", 100), bought("p1", 2190, at="2026-03-05T12:00:00Z"), bought("p3", 300, at="2026-03-06T12:00:00Z")
    )
    await post(bought("p1", 2190, at="2026-03-07T12:00:00Z"))
    assert [row["reason"] for row in await conn.fetch("SELECT reason FROM dead_letter")] == ["conflict"] * 2
    assert await entries(conn) == [
        (1, "purchase", 21, "p1", None),
        (2, "purchase", 1, "p2", None),
        (3, "purchase", 3, "p3", None),
    ]


async def test_return_of_spent_points_leaves_a_negative_balance(
    post: Post, conn: asyncpg.Connection, programme: Programme
) -> None:
    await post(bought("p1", 50_000))
    await spend_500(conn, programme)
    await post(returned("r1", "p1", 10_000))
    assert await conn.fetchval("SELECT balance_points FROM account") == -100
    report = await verify(conn, programme)
    assert report.is_clean, "\n".join(report.lines())


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
    "posted points": ("UPDATE purchase_position SET posted_points = posted_points + 1", "points due"),
    "a rate": ("UPDATE purchase_position SET bonus_percent = 20", "points due"),
    "a returned sum": ("UPDATE purchase_position SET returned_cents = 5", "points due"),
    "an entry": ("UPDATE ledger_entry SET points = 20 WHERE entry_no = 1", "add up to its points"),
    "a voucher": ("UPDATE voucher SET points = 499", "vouchers whose posted points"),
    "a reward": ("UPDATE voucher SET posted_points = 499", "debits are their vouchers"),
    "a boundary": ("UPDATE account SET expiry_year = 2040", "expiry due at their last boundary"),
    "a balance": ("UPDATE account SET balance_points = balance_points + 1", "sum of their entries"),
    "expiry": ("UPDATE account SET expired_points = 1", "sum of their entries"),
    "an entry number": ("UPDATE account SET last_entry_no = last_entry_no + 1", "no gap"),
    "points by year": ("UPDATE account SET points_by_year = '{}'", "points by year"),
    "the last purchase": ("UPDATE account SET last_purchase_at = NULL", "last purchase"),
    "a waiting return": ("UPDATE account SET waiting_returns = 1", "waiting returns"),
    "an orphan": ("INSERT INTO ledger_entry VALUES (0, 1, now(), 'purchase', 1, 'p9')", "belong to an account"),
    "an outbox row": (
        "INSERT INTO outbox (messages, message_count, created_at) VALUES ('', 0, now() - interval '1 minute')",
        "left behind",
    ),
}


@pytest.mark.parametrize(("damage", "check"), DAMAGES.values(), ids=DAMAGES.keys())
async def test_verify_notices_damage(
    post: Post, conn: asyncpg.Connection, programme: Programme, database: ServiceDatabase, damage: str, check: str
) -> None:
    """The check whose business it is stands out."""
    await post(bought("p1", 2190), bought("p2", 60_000), returned("r1", "p2", 500))
    await spend_500(conn, programme)
    assert (await verify(conn, programme)).is_clean
    owner = await asyncpg.connect(database.owner_url)
    await owner.execute(damage)
    await owner.close()
    found = [name for name, finding in (await verify(conn, programme)).differences.items() if finding.count]
    assert any(check in name for name in found), found


async def test_verify_notices_a_wrong_rate_that_adds_up(
    post: Post, conn: asyncpg.Connection, programme: Programme, database: ServiceDatabase
) -> None:
    """Rate, points, entry and balance all agree, and none of them with the member's level."""
    await post(bought("p1", 10_000))
    owner = await asyncpg.connect(database.owner_url)
    await owner.execute(
        """UPDATE purchase_position SET bonus_percent = 20, posted_points = 120;
           UPDATE ledger_entry SET points = 120;
           UPDATE account SET balance_points = 120, points_by_year = '{"2026": [120, 0]}'"""
    )
    await owner.close()
    report = await verify(conn, programme)
    assert [finding.count for finding in report.differences.values() if finding.count] == [1]


async def test_many_purchases_rated_anew_are_told_in_several_messages(
    post: Post, conn: asyncpg.Connection, programme: Programme
) -> None:
    """A message has an upper bound, a member's purchases have none."""
    await post(*[bought(f"p{n:05}", 1000) for n in range(2500)])
    await conn.execute("DELETE FROM outbox")
    await post(timeline(1, SILVER_IN_MARCH))
    [packed] = await conn.fetch("SELECT messages FROM outbox")
    told = [json.loads(message.value or b"") for message in unpack(packed["messages"])]
    assert [len(event["entries"]) for event in told] == [1000, 1000, 500]
    assert [event["balance_points"] for event in told] == [26_000, 27_000, 27_500]
    assert [event["event_no"] for event in told] == [4, 5, 6]


async def test_verify_tells_of_a_purchase_under_two_members(
    post: Post, conn: asyncpg.Connection, programme: Programme
) -> None:
    await post(bought("p1", 2190), bought("p1", 2190, member_id="M2"))
    report = await verify(conn, programme)
    assert report.is_clean, "\n".join(report.lines())
    assert report.anomaly("purchase_id under two members").examples == ["p1"]
