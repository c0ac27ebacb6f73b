"""Segments are counted by SQL; here they are compared with the pure rules, member by member, on many days.

Every member is judged anew for each day from the events alone. Seeds are in the names of the tests.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from datetime import date
from itertools import count
from typing import Any

import asyncpg
import pytest
from customer_status.segments.domain import Segment, bounds_on
from customer_status.segments.service import count_segments
from customer_status.segments.statements import READS_PURCHASES, SEGMENTED, parameters
from eventing.records import Record
from msgspec.structs import replace
from programme.calendar import civil_day, date_of, day_of, midnight_us
from programme.facts import Purchase, Return
from programme.instants import format_instant, parse_instant
from programme.lifecycle import LIFECYCLES, standing_on
from programme.points import remaining_cents, total_cents
from programme.revenue import abc_classes, counts_from
from programme.state import state_of
from programme.terms import LEVELS, Programme
from programme.timeline import level_at

DAY_US = 86_400_000_000
FIRST_DAY = day_of(date(2023, 1, 15))
DAYS = 1_200
WAYS = f"{SEGMENTED} SELECT {READS_PURCHASES} FROM member"


def history(rng: random.Random, feed: Any) -> list[Record]:
    """Members of every kind: frequent, rare, silent, only joined; returns late, early, complete and of nothing."""
    ids, records = count(), []
    for number in range(90):
        member_id, bought = f"m{number}", []
        if rng.random() < 0.5:
            records.append(feed.joined(member_id, format_instant(instant(rng, rng.randrange(DAYS)))))
        day = rng.randrange(DAYS)
        pause = rng.choice((2, 12, 31, 90, 366))
        for _ in range(rng.choice((0, 1, 2, 3, 8, 25))):
            us = instant(rng, day)
            purchase_id = f"p{next(ids)}"
            bought.append((purchase_id, us))
            cents = rng.choice((0, -500, 99, 2_190, 40_000, 99_900, 250_000))
            kind = rng.choice(("goods", "goods", "gift_card"))
            lines = [{"product_class": kind, "amount_cents": cents}, {"product_class": "deposit", "amount_cents": 25}]
            records.append(feed.purchase(member_id, purchase_id, format_instant(us), 0, lines=lines))
            day = min(DAYS, day + rng.choice((0, 1, rng.randrange(1, 2 * pause))))
        for purchase_id, us in rng.sample(bought, rng.randint(0, len(bought) // 2)):
            us += rng.choice((-1, 1, 40, 200)) * rng.randrange(DAY_US)
            extra = {"complete": True} if rng.random() < 0.3 else {"cents": rng.choice((0, 99, 50_000, 300_000))}
            records.append(feed.return_(member_id, f"r{next(ids)}", format_instant(us), of=purchase_id, **extra))
        if rng.random() < 0.1:
            us = instant(rng, rng.randrange(DAYS))
            records.append(feed.return_(member_id, f"r{next(ids)}", format_instant(us), of="nothing", cents=100))
    return records


def instant(rng: random.Random, day: int) -> int:
    """Often the first or the last microsecond of a date in Berlin."""
    midnight = midnight_us(FIRST_DAY + day)
    return midnight + rng.choice((0, 0, -1, rng.randrange(DAY_US)))


class Judge:
    """The rules over the events with a civil date up to a day."""

    def __init__(self, programme: Programme, facts: Iterable[Purchase | Return], joined: dict[str, int]) -> None:
        self.programme = programme
        self.facts = list(facts)
        self.joined = joined

    def members(self, day: int) -> dict[str, tuple[str, str, str | None, int]]:
        facts = [fact for fact in self.facts if civil_day(fact.occurred_us) <= day]
        terms = self.programme.at(midnight_us(day))
        levels = {
            state.member_id: level_at(state.timeline, midnight_us(day + 1))
            for state in state_of(self.programme, facts, midnight_us(day))
        }
        known = levels | {name: levels.get(name, "basis") for name, us in self.joined.items() if civil_day(us) <= day}
        days: defaultdict[str, set[int]] = defaultdict(set)
        revenue: defaultdict[str, int] = defaultdict(int)
        for purchase in (fact for fact in facts if isinstance(fact, Purchase)):
            back = [
                fact
                for fact in facts
                if isinstance(fact, Return)
                and (fact.member_id, fact.purchase_id) == (purchase.member_id, purchase.purchase_id)
            ]
            left = remaining_cents(
                total_cents(purchase.cents_by_class),
                sum(total_cents(each.cents_by_class) for each in back),
                any(each.complete for each in back),
            )
            if left:
                days[purchase.member_id].add(civil_day(purchase.occurred_us))
                if civil_day(purchase.occurred_us) >= counts_from(terms.abc, day):
                    revenue[purchase.member_id] += left
        classes = abc_classes(terms.abc, revenue)
        return {
            name: (
                level,
                standing_on(terms.lifecycle, sorted(days[name]), day).status,
                classes.get(name),
                revenue.get(name, 0),
            )
            for name, level in known.items()
        }


@pytest.mark.parametrize("seed", [1, 2])
async def test_segments_are_the_rules(
    seed: int, conn: asyncpg.Connection, programme: Programme, feed: Any, facts_of: Callable[..., Any]
) -> None:
    rng = random.Random(seed)
    records = history(rng, feed)
    joined = [record for record in records if record.topic.endswith("members")]
    shopping = [record for record in records if not record.topic.endswith("members")]
    rng.shuffle(shopping)
    await feed(*joined)
    await feed(*shopping[:100])
    await feed(*shopping[100:])
    rows = await conn.fetch("SELECT member_id, joined_at FROM member WHERE joined_at IS NOT NULL")
    at = {row["member_id"]: parse_instant(row["joined_at"].isoformat()) for row in rows}
    judge = Judge(programme, facts_of(shopping), at)
    seen: set[tuple[str, str, str | None]] = set()
    ways: Counter[bool] = Counter()
    days = [*rng.sample(range(FIRST_DAY, FIRST_DAY + DAYS + 500), 25), day_of(date(2024, 2, 29)), FIRST_DAY - 30]
    for day in days:
        bounds = bounds_on(programme, day)
        found = await conn.fetch(f"{SEGMENTED} SELECT * FROM segmented", *parameters(bounds))
        told = {row["member_id"]: (row["level"], row["lifecycle"], row["abc"], row["revenue_cents"]) for row in found}
        expected = judge.members(day)
        ways.update([row[0] for row in await conn.fetch(WAYS, *parameters(bounds))])
        assert told == expected, date_of(day)
        counts = await count_segments(conn, programme, day)
        assert {each[:3]: each.members for each in counts} == tally(expected)
        assert sum(each.revenue_cents for each in counts) == sum(each[3] for each in expected.values())
        seen |= {each[:3] for each in expected.values()}
    # By their row and by their purchases: both ways are compared.
    assert min(ways[True], ways[False]) > 500, ways
    assert {each[0] for each in seen} == set(LEVELS)
    assert {each[1] for each in seen} == set(LIFECYCLES)
    assert {each[2] for each in seen} == {"A", "B", "C", None}


def tally(members: dict[str, tuple[str, str, str | None, int]]) -> dict[tuple[str, str, str | None], int]:
    counts: dict[tuple[str, str, str | None], int] = defaultdict(int)
    for member in members.values():
        counts[member[:3]] += 1
    return dict(counts)


BOUNDARY_DAYS = [
    # Six days in four months within the twelve as of 30 January 2027; as of the 31st one month less.
    ["2026-01-31", "2026-02-01", "2026-02-02", "2026-03-01", "2026-03-02", "2027-01-10", "2027-01-11"],
    # ... and one day less.
    ["2026-01-31", "2026-02-01", "2026-03-01", "2026-04-01", "2027-01-10", "2027-01-11"],
    # The same on 29 February: what was bought on 28 February of the year before is a year ago.
    ["2023-02-28", "2023-03-01", "2023-03-02", "2023-04-01", "2024-01-01", "2024-01-02"],
    ["2026-01-30"],  # a year before 30 January 2027
    ["2026-11-01"],  # the 90th day is 30 January 2027
    ["2026-11-01", "2026-11-02", "2026-11-03"],
    ["2026-05-01", "2026-06-01", "2026-07-01", "2026-08-01", "2026-10-31", "2026-11-01"],
]


@pytest.mark.parametrize("on", ["2027-01-29", "2027-01-30", "2027-01-31", "2024-02-28", "2024-02-29"])
async def test_the_boundary_days_are_those_of_the_rules(
    on: str, conn: asyncpg.Connection, programme: Programme, feed: Any
) -> None:
    noon = "2027-02-01T00:00:00Z"
    records = [
        feed.purchase(f"m{number}", f"p{number}-{day}", f"{day}T12:00:00Z", 100)
        for number, days in enumerate(BOUNDARY_DAYS)
        for day in days
    ]
    await feed(*(replace(record, timestamp_us=parse_instant(noon)) for record in records))
    day = day_of(date.fromisoformat(on))
    found = await conn.fetch(f"{SEGMENTED} SELECT * FROM segmented", *parameters(bounds_on(programme, day)))
    expected = {}
    for number, texts in enumerate(BOUNDARY_DAYS):
        days = [each for each in (day_of(date.fromisoformat(text)) for text in texts) if each <= day]
        if days:
            expected[f"m{number}"] = standing_on(programme.terms[0].lifecycle, days, day).status
    assert {row["member_id"]: row["lifecycle"] for row in found} == expected


async def test_nobody_is_in_no_segment(conn: asyncpg.Connection, programme: Programme) -> None:
    assert await count_segments(conn, programme, day_of(date(2026, 6, 1))) == list[Segment]()
