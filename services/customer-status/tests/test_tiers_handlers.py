"""What the worker's handlers do with batches, on a real database."""

import asyncio
from typing import Any

import asyncpg
import pytest
from customer_status.tiers import store
from customer_status.tiers.domain import Member
from customer_status.tiers.rows import timeline_from_row
from devstack import ServiceDatabase
from eventing.database import close, connect
from eventing.dead_letters import find
from eventing.forgotten import Secret
from eventing.testing import wait_until
from programme.instants import parse_instant
from programme.timeline import Timeline, decode_timeline, level_at, steps_from_json

SECRET = Secret.parse("ee" * 32)
DAY = "2026-03-{:02}T10:00:00Z"


async def timeline(conn: asyncpg.Connection, member_id: str) -> Timeline:
    return timeline_from_row(await member(conn, member_id))


async def member(conn: asyncpg.Connection, member_id: str = "M1") -> asyncpg.Record:
    row = await conn.fetchrow("SELECT * FROM member WHERE member_id = $1", member_id)
    assert row is not None
    return row


async def test_a_change_of_level_is_published_whole(conn: asyncpg.Connection, feed: Any) -> None:
    [message] = await feed(
        feed.purchase("M1", "p1", DAY.format(1), 50_000), feed.purchase("M1", "p2", DAY.format(2), 60_000)
    )
    change = decode_timeline(message.value, message.key)
    assert (change.member_id, change.generation, change.events) == ("M1", 1, 2)
    assert [step.level for step in change.steps] == ["basis", "silver", "basis"]
    assert change.steps[1].after_us == parse_instant(DAY.format(2))
    assert [(cause.kind, cause.id) for cause in change.causes] == [("purchase", "p1"), ("purchase", "p2")]
    assert await timeline(conn, "M1") == change.steps
    headers = dict(message.headers)
    assert headers["ce_type"] == b"kundenclub.customer-status.changed.v1"
    assert headers["ce_partitionkey"] == b"M1"


async def test_a_timeline_names_what_arrived_and_changed_it(conn: asyncpg.Connection, feed: Any) -> None:
    await feed.bought("M1", "p1", DAY.format(5), 50_000)
    [won] = await feed.bought("M1", "p2", DAY.format(3), 60_000)
    [lost] = await feed.returned("M1", "r1", DAY.format(1), of="p2", cents=60_000)
    assert [cause.id for cause in decode_timeline(won.value, won.key).causes] == ["p2"]
    [cause] = decode_timeline(lost.value, lost.key).causes
    assert cause == ("return", "r1", parse_instant(DAY.format(3)))


async def test_what_changes_no_level_publishes_nothing(conn: asyncpg.Connection, feed: Any) -> None:
    assert await feed.bought("M1", "p1", DAY.format(1), 2_190) == []
    row = await member(conn)
    assert (row["events"], row["timeline"]) == (1, None)
    assert await timeline(conn, "M1") == steps_from_json([{"after": None, "level": "basis"}])


async def test_same_purchase_under_a_new_event_id_does_nothing(conn: asyncpg.Connection, feed: Any) -> None:
    await feed.bought("M1", "p1", DAY.format(1), 100_000)
    before = await member(conn)
    assert await feed.bought("M1", "p1", DAY.format(1), 100_000) == []
    assert await feed.bought("M1", "p1", "2026-03-01T11:00:00+01:00", 100_000) == []
    assert await member(conn) == before


@pytest.mark.parametrize(
    "other",
    [
        {"occurred_at": DAY.format(2)},
        {"cents": 99_999},
        {"vouchers": ["0" * 32]},
        {"lines": [{"product_class": "book", "amount_cents": 100_000}]},
    ],
)
async def test_same_purchase_id_with_other_content_is_a_conflict(
    other: dict[str, Any], conn: asyncpg.Connection, feed: Any
) -> None:
    first = {"member_id": "M1", "purchase_id": "p1", "occurred_at": DAY.format(1), "cents": 100_000}
    await feed.bought(**first)
    before = await member(conn)
    assert await feed.bought(**(first | other)) == []
    [letter] = await find(conn)
    assert (letter.reason, letter.detail) == ("conflict", "purchase_id p1 is known with other content")
    assert await member(conn) == before


async def test_conflicts_within_one_batch_keep_the_first(conn: asyncpg.Connection, feed: Any) -> None:
    await feed(feed.purchase("M1", "p1", DAY.format(1), 100), feed.purchase("M1", "p1", DAY.format(1), 200))
    assert await conn.fetchval("SELECT eligible_cents FROM purchase") == 100
    assert [letter.record.offset for letter in await find(conn)] == [2]


@pytest.mark.parametrize("other", [{"of": "p2"}, {"cents": 2}, {"complete": True}, {"occurred_at": DAY.format(3)}])
async def test_same_return_id_with_other_content_is_a_conflict(
    other: dict[str, Any], conn: asyncpg.Connection, feed: Any
) -> None:
    first = {"member_id": "M1", "return_id": "r1", "occurred_at": DAY.format(2), "of": "p1", "cents": 1}
    await feed.bought("M1", "p1", DAY.format(1), 100)
    await feed.returned(**first)
    await feed.returned(**first)
    await feed.returned(**(first | other))
    assert [letter.reason for letter in await find(conn)] == ["conflict"]
    assert await conn.fetchval("SELECT returned_cents FROM purchase") == 1


async def test_return_before_its_purchase_waits_and_counts_when_it_comes(conn: asyncpg.Connection, feed: Any) -> None:
    await feed.returned("M1", "r1", DAY.format(5), of="p1", cents=10_000)
    row = await member(conn)
    assert (row["events"], row["waiting_returns"]) == (1, 1)
    [message] = await feed.bought("M1", "p1", DAY.format(1), 100_000)
    steps = decode_timeline(message.value, message.key).steps
    assert [step.after_us for step in steps[1:]] == [parse_instant(DAY.format(1)), parse_instant(DAY.format(5))]
    row = await member(conn)
    assert (row["events"], row["waiting_returns"]) == (2, 0)
    assert await conn.fetchval("SELECT returned_cents FROM purchase") == 10_000


async def test_return_under_another_members_card_waits_for_ever(conn: asyncpg.Connection, feed: Any) -> None:
    await feed.bought("M1", "p1", DAY.format(1), 100_000)
    await feed.returned("M2", "r1", DAY.format(2), of="p1", complete=True)
    assert (await member(conn, "M2"))["waiting_returns"] == 1
    assert level_at(await timeline(conn, "M1"), parse_instant(DAY.format(3))) == "silver"


async def test_same_receipt_under_two_cards_counts_for_both(conn: asyncpg.Connection, feed: Any) -> None:
    await feed(feed.purchase("A", "p1", DAY.format(1), 100_000), feed.purchase("B", "p1", DAY.format(1), 100_000))
    assert level_at(await timeline(conn, "A"), parse_instant(DAY.format(2))) == "silver"
    assert await timeline(conn, "A") == await timeline(conn, "B")


async def test_a_purchase_without_a_card_makes_no_member(conn: asyncpg.Connection, feed: Any) -> None:
    record = feed.purchase("M1", "p1", DAY.format(1), 100_000)
    anonymous = feed.record("kundenclub.purchase.completed.v1", {"purchase_id": "p1", "member_id": None})
    assert await feed(anonymous) == []
    assert await conn.fetchval("SELECT count(*) FROM member") == 0
    assert await conn.fetchval("SELECT count(*) FROM dead_letter") == 0
    assert len(await feed(record)) == 1


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({"member_id": "M 1"}, "invalid_id"),
        ({"member_id": "M1'; DROP TABLE member; --"}, "invalid_id"),
        ({"member_id": "M1", "joined_at": "yesterday"}, "invalid_instant"),
        ({"member_id": "M1"}, "invalid_structure"),
    ],
)
async def test_a_joining_that_breaks_its_contract_is_a_dead_letter(
    data: dict[str, Any], reason: str, conn: asyncpg.Connection, feed: Any
) -> None:
    defaults = {} if reason == "invalid_structure" else {"joined_at": DAY.format(1)}
    await feed(feed.record("kundenclub.member.joined.v1", defaults | data))
    assert [letter.reason for letter in await find(conn)] == [reason]
    assert await conn.fetchval("SELECT count(*) FROM member") == 0


async def test_joining_makes_the_member_and_the_earliest_instant_stays(conn: asyncpg.Connection, feed: Any) -> None:
    await feed(feed.joined("M1", DAY.format(2)), feed.joined("M2", DAY.format(2)), feed.joined("M1", DAY.format(3)))
    await feed(feed.joined("M1", DAY.format(1)))
    await feed(feed.joined("M1", DAY.format(4)))
    assert (await member(conn, "M1"))["joined_at"].day == 1
    assert (await member(conn, "M2"))["joined_at"].day == 2
    assert (await member(conn, "M1"))["events"] == 0


async def test_a_member_who_bought_before_joining_stays_one_member(conn: asyncpg.Connection, feed: Any) -> None:
    await feed.bought("M1", "p1", DAY.format(1), 100)
    await feed(feed.joined("M1", DAY.format(2)))
    assert await conn.fetchval("SELECT count(*) FROM member") == 1


async def test_the_number_of_statements_does_not_grow_with_the_batch(conn: asyncpg.Connection, feed: Any) -> None:
    def everything(prefix: str, members: int) -> list[Any]:
        """New and known members; purchases in time and late; returns in time and early; repeats."""
        records = []
        for member_id in [f"{prefix}{n}" for n in range(members)]:
            records += [
                feed.purchase(f"new-{member_id}", "p2", DAY.format(9), 100_000),
                feed.purchase(member_id, "p2", DAY.format(9), 100_000),
                feed.return_(member_id, "r1", DAY.format(10), of="p1", cents=1),
                feed.return_(member_id, "r2", DAY.format(10), of="p0", cents=1),
                feed.purchase(member_id, "p0", DAY.format(1), 100_000),
            ]
        return records * 2

    async def statements(prefix: str, members: int) -> int:
        known = [feed.purchase(f"{prefix}{n}", "p1", DAY.format(8), 100_000) for n in range(members)]
        await feed(*known)
        await feed(*(feed.return_(f"{prefix}{n}", "r0", DAY.format(9), of="p0", cents=1) for n in range(members)))
        seen: list[str] = []
        with conn.query_logger(lambda query: seen.append(query.query)):
            await feed(*everything(prefix, members))
        return len(seen)

    await statements("first", 1)  # the driver asks for the types it meets, once
    few = await statements("a", 1)
    assert await statements("b", 60) == few
    assert few < 20


@pytest.mark.parametrize("known", [False, True])
async def test_batches_that_name_the_same_members_in_other_orders_never_deadlock(
    known: bool, conn: asyncpg.Connection, database: ServiceDatabase
) -> None:
    """A third transaction holds one member until both batches wait: in one common order, only one of them can have
    got any further."""
    ids = [f"M{number:02}" for number in range(20)]
    if known:
        await store.lock_members(conn, ids, SECRET)
    holder = conn.transaction()
    await holder.start()
    await store.lock_members(conn, [ids[10]], SECRET)

    async def lock_all(names: list[str]) -> dict[str, Member]:
        other = await connect(database.app_url, application_name="tests", posting=True)
        try:
            async with other.transaction():
                return await store.lock_members(other, names, SECRET)
        finally:
            await close(other)

    both = [asyncio.create_task(lock_all(ids)), asyncio.create_task(lock_all(ids[::-1]))]

    async def both_wait() -> bool:
        return bool(await conn.fetchval("SELECT count(*) = 2 FROM pg_locks WHERE NOT granted"))

    await wait_until(both_wait)
    await holder.rollback()
    first, second = await asyncio.gather(*both)
    assert first == second
    assert sorted(first) == ids


async def test_what_was_locked_is_read_as_the_other_left_it(
    conn: asyncpg.Connection, database: ServiceDatabase, feed: Any
) -> None:
    """A batch that waited for a member's lock counts on from where the batch it waited for ended."""
    await feed.bought("M1", "p0", DAY.format(1), 100)
    other = await connect(database.app_url, application_name="tests", posting=True)
    async with other.transaction():
        members = await store.lock_members(other, ["M1"])
        waiting = asyncio.create_task(feed.bought("M1", "p1", DAY.format(2), 100))

        async def it_waits() -> bool:
            return bool(await other.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"))

        await wait_until(it_waits)
        await other.execute("UPDATE member SET events = 41 WHERE account_no = $1", members["M1"].account_no)
    await waiting
    await close(other)
    assert (await member(conn))["events"] == 42


async def test_a_known_purchase_that_comes_again_on_a_later_day_is_a_conflict(
    conn: asyncpg.Connection, feed: Any
) -> None:
    """A purchase of a later day than all of its member's is taken for new; here the primary key says that it is not."""
    await feed.bought("M1", "p0", DAY.format(1), 100)
    await feed(
        feed.purchase("M1", "p1", DAY.format(2), 100),
        feed.purchase("M1", "p0", DAY.format(3), 100),
        feed.purchase("M1", "p2", DAY.format(4), 100),
    )
    assert await conn.fetchval("SELECT array_agg(reason) FROM dead_letter") == ["conflict"]
    assert await conn.fetchval("SELECT array_agg(purchase_id ORDER BY purchase_id) FROM purchase") == ["p0", "p1", "p2"]
    assert (await member(conn))["events"] == 3
