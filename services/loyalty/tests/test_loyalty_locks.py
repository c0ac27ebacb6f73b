"""The one lock function: what it returns is what holds under the lock, and nobody waits in a circle."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import pytest
from devstack import ServiceDatabase
from eventing.failures import StartOver
from eventing.forgotten import Secret, forget
from loyalty.points import store
from loyalty.points.account import Account

SECRET = Secret.parse("5" * 64)
Connect = Callable[[], Awaitable[asyncpg.Connection]]


@pytest.fixture
async def connect(database: ServiceDatabase, conn: asyncpg.Connection) -> AsyncIterator[Connect]:
    """More connections of the application, each in a transaction that is rolled back unless it was committed."""
    async with AsyncExitStack() as stack:

        async def connect() -> asyncpg.Connection:
            another = await asyncpg.connect(database.app_url)
            stack.push_async_callback(another.close)
            await another.execute("BEGIN")
            return another

        yield connect


async def locked(conn: asyncpg.Connection, *members: str, owner_nos: Any = ()) -> list[Account]:
    return await store.lock_accounts(conn, members, owner_nos, SECRET)


async def is_waiting(conn: asyncpg.Connection, other: asyncpg.Connection) -> None:
    """Until `other` waits for a lock."""
    query = "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $1"
    async with asyncio.timeout(10):
        while not await conn.fetchval(query, other.get_server_pid()):
            await asyncio.sleep(0.01)


async def test_who_waited_for_a_lock_gets_what_was_committed_meanwhile(
    connect: Connect, conn: asyncpg.Connection
) -> None:
    await conn.execute("INSERT INTO account (member_id, balance_points) VALUES ('M1', 1), ('M2', 1)")
    first, second = await connect(), await connect()
    [account, _] = await locked(first, "M1", "M2")
    account.post("purchase", 20)
    await store.write_accounts(first, [account])
    waiting = asyncio.create_task(locked(second, "M1", "M2"))
    await is_waiting(conn, second)
    await first.execute("COMMIT")
    assert [(each.member_id, each.balance_points, each.last_entry_no) for each in await waiting] == [
        ("M1", 21, 1),
        ("M2", 1, 0),
    ]


async def test_an_account_that_another_one_makes_meanwhile_is_locked_when_nothing_else_is(
    connect: Connect, conn: asyncpg.Connection
) -> None:
    first, second = await connect(), await connect()
    [made] = await locked(first, "M1")
    waiting = asyncio.create_task(locked(second, "M1"))
    await is_waiting(conn, second)
    await first.execute("COMMIT")
    assert [each.account_no for each in await waiting] == [made.account_no]


async def test_whoever_holds_locks_starts_over_when_another_one_makes_an_account(
    connect: Connect, conn: asyncpg.Connection
) -> None:
    """It would have to be locked between those that are held already."""
    await conn.execute("INSERT INTO account (member_id) VALUES ('M0')")
    first, second = await connect(), await connect()
    await locked(first, "M1")
    waiting = asyncio.create_task(locked(second, "M0", "M1", "M2"))
    await is_waiting(conn, second)
    await first.execute("COMMIT")
    with pytest.raises(StartOver):
        await waiting
    await second.execute("ROLLBACK")
    await second.execute("BEGIN")
    assert [each.member_id for each in await locked(second, "M0", "M1", "M2")] == ["M0", "M1", "M2"]


async def test_no_account_is_made_for_who_was_erased_while_one_waited(
    connect: Connect, conn: asyncpg.Connection
) -> None:
    await conn.execute("INSERT INTO account (member_id) VALUES ('M1'), ('M2')")
    first, second = await connect(), await connect()
    await locked(first, "M1")
    await forget(first, SECRET, ["M1"])
    await first.execute("UPDATE account SET member_id = NULL WHERE member_id = 'M1'")
    waiting = asyncio.create_task(locked(second, "M1", "M2", "M3"))
    await is_waiting(conn, second)
    await first.execute("COMMIT")
    assert [each.member_id for each in await waiting] == ["M2", "M3"]
    await second.execute("COMMIT")
    assert await conn.fetchval("SELECT count(*) FROM account WHERE member_id = 'M1'") == 0


async def test_batches_with_new_and_known_members_in_any_order_never_deadlock(
    connect: Connect, conn: asyncpg.Connection
) -> None:
    """Eight at once, each with half of twenty members, of whom some are there already."""
    await conn.executemany("INSERT INTO account (member_id) VALUES ($1)", [(f"M{n:02}",) for n in range(0, 20, 3)])
    started_over = 0

    async def work(number: int) -> None:
        nonlocal started_over
        mine = await connect()
        await mine.execute("ROLLBACK")
        for turn in range(12):
            members = [f"M{n:02}" for n in range(20) if (n * 7 + number + turn) % 2] + [f"N{turn:02}"]
            for _ in range(20):
                try:
                    async with mine.transaction():
                        accounts = await locked(mine, *members)
                        assert len(accounts) == len(members)
                        for account in accounts:
                            account.post("purchase", 1)
                        await store.write_accounts(mine, accounts)
                    break
                except StartOver:
                    started_over += 1
            else:
                raise AssertionError("started over again and again")

    async with asyncio.timeout(60):
        await asyncio.gather(*[work(number) for number in range(8)])
    sums = await conn.fetchrow("SELECT sum(balance_points), sum(last_entry_no) FROM account")
    assert sums is not None
    # Eleven members a turn: ten or so of the twenty, by the parity above, and the new one.
    entries = await conn.fetchval("SELECT count(*) FROM ledger_entry")
    assert tuple(sums) == (entries, entries)
    assert entries == 8 * 12 * 11
