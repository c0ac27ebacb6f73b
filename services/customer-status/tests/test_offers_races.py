"""Who gets the last seat, with everybody at once: members, staff who lower the capacity, and levels that change."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from customer_status.errors import CapacityBelowClaims, LevelTooLow, OfferFull, SlotTaken
from customer_status.offers import service, store
from customer_status.offers.domain import Draft, Slot
from devstack import ServiceDatabase
from eventing.database import open_pool
from eventing.testing import wait_until
from programme.instants import parse_instant
from programme.terms import Programme
from webapi.problems import Problem

NOW_US = parse_instant("2026-06-01T10:00:00Z")
MEMBERS = [f"M{number:03}" for number in range(500)]
BEGIN, END = parse_instant("2026-05-01T00:00:00Z"), parse_instant("2026-07-01T00:00:00Z")
SLOT = Slot(0, parse_instant("2026-06-10T10:00:00Z"), parse_instant("2026-06-10T11:00:00Z"), "")


def event(capacity: int) -> Draft:
    return Draft("event", "Late night", "", "gold", BEGIN, END, capacity, False)


@pytest.fixture
async def pool(database: ServiceDatabase) -> AsyncIterator[asyncpg.Pool]:
    pool = await open_pool(database.app_url, application_name="tests", min_size=16, max_size=16)
    yield pool
    await pool.close()


async def create(conn: asyncpg.Connection, programme: Programme, draft: Draft, slots: list[Slot] | None = None) -> int:
    async with conn.transaction():
        made = await service.create(conn, programme.at(NOW_US), draft, slots or [], NOW_US, "staff")
    return made.offer.offer_id


async def attempt(pool: asyncpg.Pool, offer_id: int, member_id: str, slot_no: int | None = None) -> str:
    """`claimed`, or the code of the problem."""
    async with pool.acquire() as conn:
        try:
            async with conn.transaction():
                await service.claim(conn, offer_id, member_id, slot_no, NOW_US)
            return "claimed"
        except Problem as problem:
            return problem.code


async def seats(conn: asyncpg.Connection, offer_id: int) -> tuple[int, int]:
    """Claims that are held, and the capacity."""
    held = await conn.fetchval(
        "SELECT count(*) FROM offer_claim WHERE offer_id = $1 AND cancelled_at IS NULL", offer_id
    )
    return held, await conn.fetchval("SELECT capacity FROM offer WHERE offer_id = $1", offer_id)


@pytest.fixture
async def gold_members(feed: Any) -> None:
    await feed(*(feed.purchase(member_id, "p1", "2026-02-01T10:00:00Z", 300_000) for member_id in MEMBERS))


@pytest.mark.usefixtures("gold_members")
async def test_500_members_claim_20_seats_at_once(
    pool: asyncpg.Pool, conn: asyncpg.Connection, programme: Programme
) -> None:
    offer_id = await create(conn, programme, event(20))
    answers = Counter(await asyncio.gather(*(attempt(pool, offer_id, member_id) for member_id in MEMBERS)))
    assert answers == {"claimed": 20, OfferFull.code: 480}
    assert await seats(conn, offer_id) == (20, 20)
    assert await store.miscounted(conn) == []


@pytest.mark.usefixtures("gold_members")
async def test_seats_while_staff_lower_the_capacity_levels_change_and_members_cancel(
    pool: asyncpg.Pool, conn: asyncpg.Connection, programme: Programme, feed: Any
) -> None:
    offer_id = await create(conn, programme, event(200))
    lost, cancelling = MEMBERS[::2], MEMBERS[1:100:2]

    async def lose_gold() -> None:
        for first in range(0, len(lost), 50):
            await feed(
                *(
                    feed.return_(member_id, "r1", "2026-03-01T10:00:00Z", of="p1", complete=True)
                    for member_id in lost[first : first + 50]
                )
            )

    async def lower() -> list[int]:
        """Lower the capacity as far as it goes; returns the capacities that were taken."""
        taken = []
        for capacity in range(195, 0, -5):
            async with pool.acquire() as staff:
                try:
                    async with staff.transaction():
                        locked = await service.lock(staff, offer_id)
                        change = service.Change(event(capacity), [], [])
                        await service.change(staff, programme.at(NOW_US), locked, change, NOW_US, "staff")
                    taken.append(capacity)
                except CapacityBelowClaims:
                    continue
        return taken

    async def claim_and_cancel(member_id: str) -> str:
        answer = await attempt(pool, offer_id, member_id)
        if answer == "claimed":
            async with pool.acquire() as other, other.transaction():
                await service.cancel(other, offer_id, member_id, NOW_US)
        return answer

    losing, lowering = asyncio.create_task(lose_gold()), asyncio.create_task(lower())
    answers = await asyncio.gather(
        *(claim_and_cancel(member_id) for member_id in cancelling),
        *(attempt(pool, offer_id, member_id) for member_id in MEMBERS if member_id not in cancelling),
    )
    await losing
    capacities = await lowering
    held, capacity = await seats(conn, offer_id)
    assert capacity == min(capacities, default=200)
    assert held <= capacity
    assert await store.miscounted(conn) == []
    assert set(answers) <= {"claimed", OfferFull.code, LevelTooLow.code}
    assert held == sum(answer == "claimed" for answer in answers[len(cancelling) :])
    late = Counter(await asyncio.gather(*(attempt(pool, offer_id, member_id) for member_id in lost)))
    assert late["claimed"] == await conn.fetchval(
        """
        SELECT count(*) FROM offer_claim JOIN member USING (account_no)
        WHERE member_id = ANY ($1::text[]) AND cancelled_at IS NULL""",
        lost,
    ), "nobody who lost the level got a seat after that"


async def test_a_level_that_is_being_taken_away_is_waited_for(
    pool: asyncpg.Pool, conn: asyncpg.Connection, programme: Programme, feed: Any
) -> None:
    """The claim comes while the worker's transaction holds the member and has not committed the new timeline."""
    await feed.bought("M1", "p1", "2026-02-01T10:00:00Z", 300_000)
    offer_id = await create(conn, programme, event(20))
    outer = conn.transaction()
    await outer.start()
    await feed.returned("M1", "r1", "2026-03-01T10:00:00Z", of="p1", complete=True)
    waiting = asyncio.create_task(attempt(pool, offer_id, "M1"))

    async def it_waits() -> bool:
        return bool(await conn.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"))

    await wait_until(it_waits)
    await outer.commit()
    assert await waiting == LevelTooLow.code


async def test_50_members_want_one_slot(
    pool: asyncpg.Pool, conn: asyncpg.Connection, programme: Programme, feed: Any
) -> None:
    await feed(*(feed.purchase(member_id, "p1", "2026-02-01T10:00:00Z", 300_000) for member_id in MEMBERS[:50]))
    draft = Draft("consultation", "Colours", "", "gold", BEGIN, END, None, False)
    offer_id = await create(conn, programme, draft, [SLOT])
    answers = Counter(await asyncio.gather(*(attempt(pool, offer_id, member_id, 1) for member_id in MEMBERS[:50])))
    assert answers == {"claimed": 1, SlotTaken.code: 49}
    assert (await store.find_offer(conn, offer_id)).claimed == 1  # type: ignore[union-attr]


async def test_one_member_claims_50_times_at_once(
    pool: asyncpg.Pool, conn: asyncpg.Connection, programme: Programme, feed: Any
) -> None:
    await feed.bought("M1", "p1", "2026-02-01T10:00:00Z", 300_000)
    offer_id = await create(conn, programme, event(20))
    answers = Counter(await asyncio.gather(*(attempt(pool, offer_id, "M1") for _ in range(50))))
    assert (answers, await seats(conn, offer_id)) == ({"claimed": 50}, (1, 20))
