"""Every order, repetition and split of the same events gives the same levels.

The cases of contracts/conformance, all at once in one database, through the real handlers; and random histories
compared with the pure rules. Seeds are in the names of the tests.
"""

import json
import random
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest
from customer_status.audit.state import states
from customer_status.audit.verify import verify
from eventing.records import Message, Record
from programme.instants import format_instant, parse_instant
from programme.state import state_of
from programme.terms import Programme
from programme.timeline import TimelineChanged, decode_timeline, steps_to_json

KEYS = ("member_id", "level", "timeline", "purchases", "digest")
NOW = "2026-11-22T00:00:00Z"
DAY_US = 86_400_000_000


@pytest.fixture(scope="session")
def cases(contracts: Path) -> list[dict[str, Any]]:
    lines = (contracts / "conformance" / "cases.jsonl").read_text().splitlines()
    assert len(lines) >= 40
    return [json.loads(line) for line in lines]


def split(rng: random.Random, records: list[Record]) -> Iterator[list[Record]]:
    rest = records
    while rest:
        size = rng.choice((1, 2, 7, 60))
        yield rest[:size]
        rest = rest[size:]


async def printed(conn: asyncpg.Connection, programme: Programme, at: str | None = NOW) -> list[dict[str, Any]]:
    at_us = None if at is None else parse_instant(at)
    return [msgspec.to_builtins(state) async for state in states(conn, programme, at_us, None, parse_instant(NOW))]


def check_published(messages: list[Message], expected: dict[str, Any]) -> None:
    """The last timeline of each member is the expected one, and versions only grow."""
    last: dict[str, TimelineChanged] = {}
    for message in messages:
        assert message.value is not None
        change = decode_timeline(message.value, message.key)
        before = last.get(change.member_id)
        assert before is None or (before.generation, before.events) < (change.generation, change.events)
        last[change.member_id] = change
    basis = [{"after": None, "level": "basis"}]
    for member_id, timeline in expected.items():
        assert (steps_to_json(last[member_id].steps) if member_id in last else basis) == timeline


@pytest.mark.parametrize("seed", range(4))
async def test_conformance_cases_in_any_order_and_split(
    seed: int, cases: list[dict[str, Any]], conn: asyncpg.Connection, programme: Programme, feed: Any
) -> None:
    rng = random.Random(seed)
    records, expected = [], []
    for number, case in enumerate(cases):
        assert case["now"] == NOW
        for event in case["events"]:
            data = event["data"] | {"member_id": f"{number:02}-{event['data']['member_id']}"}
            records.append(feed.record(event["type"], data))
        expected += [
            {key: state[key] for key in KEYS} | {"member_id": f"{number:02}-{state['member_id']}"}
            for state in case["expect"]
        ]
    records += rng.sample(records, len(records) // 3)
    if seed:
        rng.shuffle(records)
    published = []
    for batch in split(rng, records):
        published += await feed(*batch)
    assert await printed(conn, programme) == sorted(expected, key=lambda state: state["member_id"])
    check_published(published, {state["member_id"]: state["timeline"] for state in expected})
    report = await verify(conn, programme, None)
    assert report.is_clean, "\n".join(report.lines())
    assert await conn.fetchval("SELECT count(*) FROM dead_letter") == 0


def random_history(rng: random.Random, feed: Any) -> list[Record]:
    """Purchases and returns of some members over four years: same instants, exact midnights, wrong returns."""
    start_us, ids = parse_instant("2022-01-01T00:00:00Z"), count()
    records = []
    for member in range(12):
        member_id, bought = f"m{member}", []
        for _ in range(rng.randint(0, 40)):
            us = start_us + rng.randrange(4 * 365) * DAY_US + rng.choice((0, 23 * 3_600_000_000, rng.randrange(DAY_US)))
            purchase_id = f"p{next(ids)}"
            bought.append((purchase_id, us))
            cents = rng.choice((99, 2_190, 40_000, 99_900, 100_000, 250_000))
            records.append(feed.purchase(member_id, purchase_id, format_instant(us), cents))
        for _ in range(rng.randint(0, 15) if bought else 0):
            purchase_id, us = rng.choice(bought)
            us += rng.choice((-1, 0, 1, 30)) * rng.randrange(DAY_US)
            extra = {"complete": True} if rng.random() < 0.3 else {"cents": rng.choice((0, 99, 50_000, 300_000))}
            owner = member_id if rng.random() < 0.95 else "m0"
            records.append(feed.return_(owner, f"r{next(ids)}", format_instant(us), of=purchase_id, **extra))
    return records


@pytest.mark.parametrize("seed", range(100, 104))
async def test_random_histories_agree_with_the_pure_rules(
    seed: int, conn: asyncpg.Connection, programme: Programme, feed: Any, facts_of: Callable[..., Any]
) -> None:
    rng = random.Random(seed)
    records = random_history(rng, feed)
    if seed % 2:
        rng.shuffle(records)
    else:
        records.sort(key=lambda record: json.loads(record.value or b"")["occurred_at"])
    records += rng.sample(records, len(records) // 5)
    published = []
    for batch in split(rng, records):
        published += await feed(*batch)
    judged = state_of(programme, facts_of(records), parse_instant(NOW))
    expected = [{key: state.to_json()[key] for key in KEYS} for state in judged]
    assert await printed(conn, programme) == expected
    assert any(len(state["timeline"]) > 3 for state in expected)
    check_published(published, {state["member_id"]: state["timeline"] for state in expected})
    report = await verify(conn, programme, None)
    assert report.is_clean, "\n".join(report.lines())
