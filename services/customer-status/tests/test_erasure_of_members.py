"""Members who are erased, in any order with their joining and their purchases (rules 3.14)."""

import asyncio
from itertools import permutations
from typing import Any

import asyncpg
import pytest
from customer_status.audit.state import states
from customer_status.audit.verify import verify
from customer_status.events import CUSTOMER_STATUS_TOPIC
from devstack import ServiceDatabase
from eventing import forgotten
from eventing.database import close, connect
from eventing.forgotten import Secret
from eventing.testing import wait_until
from programme.terms import Programme

SECRET = Secret.parse("ee" * 32)
DAY = "2026-11-{:02}T12:00:00Z"


async def named(conn: asyncpg.Connection) -> list[str]:
    rows = await conn.fetch("SELECT member_id FROM member WHERE member_id IS NOT NULL ORDER BY 1")
    return [row["member_id"] for row in rows]


async def check(conn: asyncpg.Connection, programme: Programme, members: list[str]) -> None:
    report = await verify(conn, programme, None)
    assert report.is_clean, "\n".join(report.lines())
    assert (
        [state.member_id async for state in states(conn, programme, None, None, 1_800_000_000_000_000)]
        == members
        == await named(conn)
    )


async def test_joining_buying_and_being_erased_in_any_order(
    feed: Any, conn: asyncpg.Connection, programme: Programme
) -> None:
    """In whatever order both topics are read, nobody of them is left, and the others are as they were."""
    for n, order in enumerate(permutations(["joined", "bought", "returned", "erased"])):
        member = f"M{n}"
        steps = {
            "joined": feed.joined(member, DAY.format(1)),
            "bought": feed.purchase(member, f"p{n}", DAY.format(2), 100_000),
            "returned": feed.return_(member, f"r{n}", DAY.format(3), of=f"p{n}", cents=100),
            "erased": feed.erased(member),
        }
        for step in order:
            await feed(steps[step])
    await feed(feed.purchase("N1", "q1", DAY.format(2), 100_000))
    await check(conn, programme, ["N1"])


async def test_a_tombstone_clears_the_timeline_once(feed: Any, conn: asyncpg.Connection, programme: Programme) -> None:
    await feed.bought("M1", "p1", DAY.format(1), 200_000)
    [tombstone] = await feed(feed.joined("M1", DAY.format(1)), feed.erased("M1"))
    assert (tombstone.topic, tombstone.key, tombstone.value) == (CUSTOMER_STATUS_TOPIC, b"M1", None)
    assert await feed(feed.erased("M1")) == []
    assert await feed.bought("M1", "p2", DAY.format(2), 200_000) == []
    await check(conn, programme, [])


async def test_dead_letters_and_answers_of_an_erased_member_are_gone(feed: Any, conn: asyncpg.Connection) -> None:
    await feed.bought("M1", "p1", DAY.format(1), 100)
    await feed.bought("M1", "p1", DAY.format(1), 999)
    await feed.bought("M2", "p2", DAY.format(1), 100)
    await feed.bought("M2", "p2", DAY.format(1), 999)
    answer = (
        "INSERT INTO idempotency_key (caller, key, request_hash, status, body, about) VALUES ('c', $1, '', 200, '', $1)"
    )
    await conn.executemany(answer, [("M1",), ("M2",)])
    person = "INSERT INTO contact_person SELECT account_no, 'Ann', NULL, 'staff', now() FROM member"
    await conn.execute(person)
    await feed(feed.erased("M1"))
    owners = "SELECT member_id FROM contact_person JOIN member USING (account_no)"
    assert [row["member_id"] for row in await conn.fetch(owners)] == ["M2"]
    assert [row["key"] for row in await conn.fetch("SELECT key FROM dead_letter")] == [b"M2"]
    assert [row["about"] for row in await conn.fetch("SELECT about FROM idempotency_key")] == ["M2"]


@pytest.mark.parametrize("known", [True, False])
async def test_a_member_is_erased_while_a_batch_with_their_purchase_waits_for_the_lock(
    known: bool, feed: Any, conn: asyncpg.Connection, programme: Programme, database: ServiceDatabase
) -> None:
    if known:
        await feed.bought("M1", "p0", DAY.format(1), 100)
    other = await connect(database.app_url, application_name="tests", posting=True)
    async with other.transaction():
        if not known:
            await other.execute("INSERT INTO member (member_id) VALUES ('M1')")
        await other.execute("SELECT FROM member WHERE member_id = 'M1' FOR UPDATE")
        batch = [feed.purchase("M1", "p1", DAY.format(2), 100), feed.purchase("M2", "p2", DAY.format(2), 100)]
        waiting = asyncio.create_task(feed(*batch))

        async def it_waits() -> bool:
            return bool(await other.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"))

        await wait_until(it_waits)
        await forgotten.forget(other, SECRET, ["M1"])
        await other.execute("UPDATE member SET member_id = NULL WHERE member_id = 'M1'")
    await waiting
    await close(other)
    await check(conn, programme, ["M2"])
