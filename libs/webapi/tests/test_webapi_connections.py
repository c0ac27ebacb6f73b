"""Connections that go from one request to the next without the pool: nothing of one is left to the other."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from devstack.databases import ServiceDatabase
from webapi import testing
from webapi.connections import Connections
from webapi.database import Database
from webapi.problems import Unavailable

SIZE = 2
WAIT_S = 5.0


@pytest.fixture
async def pool(database: ServiceDatabase) -> "AsyncIterator[asyncpg.Pool[asyncpg.Record]]":
    pool = await asyncpg.create_pool(database.app_url, min_size=1, max_size=SIZE)
    yield pool
    pool.terminate()


@pytest.fixture
async def house(database: ServiceDatabase) -> AsyncIterator[Database]:
    async def open_pool() -> "asyncpg.Pool[asyncpg.Record]":
        return await asyncpg.create_pool(database.app_url, min_size=1, max_size=SIZE)

    house = Database(open_pool)

    async def open_by_now() -> bool:
        try:
            await backend(house)
        except Unavailable:
            return False
        return True

    async with house.opened():
        await testing.wait_for(open_by_now)
        yield house


async def backend(house: Database) -> int:
    async with house.connection() as connection:
        pid: int = await connection.fetchval("SELECT pg_backend_pid()")
    return pid


async def test_one_after_the_other_gets_the_same(house: Database) -> None:
    assert len({await backend(house) for _ in range(5)}) == 1


async def test_who_waits_is_served_in_turn_and_before_who_comes_later(pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    connections, served = Connections(pool), list[int]()
    taken = [await connections.acquire(WAIT_S) for _ in range(SIZE)]

    async def wait(number: int) -> None:
        connection = await connections.acquire(WAIT_S)
        served.append(number)
        assert connections.keep(connection)

    waiting = [asyncio.create_task(wait(number)) for number in range(3)]
    await asyncio.sleep(0)
    assert connections.keep(taken[0])
    assert connections.at_hand() is None
    await asyncio.gather(*waiting)
    assert served == [0, 1, 2]
    assert connections.at_hand() is taken[0]


async def test_who_gives_up_takes_nothing_along(pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    connections = Connections(pool)
    taken = [await connections.acquire(WAIT_S) for _ in range(SIZE)]
    with pytest.raises(TimeoutError):
        await connections.acquire(0.01)
    gone, unlucky, patient = (asyncio.create_task(connections.acquire(WAIT_S)) for _ in range(3))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.wait([gone])
    assert connections.keep(taken[0])
    unlucky.cancel()  # when it has been handed one already, but does not know yet
    assert await asyncio.wait_for(patient, 5) is taken[0]
    assert (gone.cancelled(), unlucky.cancelled()) == (True, True)


async def test_a_pool_that_cannot_connect_just_now_is_asked_again(database: ServiceDatabase) -> None:
    away = False

    async def connect(*arguments: Any, **options: Any) -> asyncpg.Connection:
        if away:
            raise OSError("away")
        return await asyncpg.connect(*arguments, **options)

    pool = await asyncpg.create_pool(database.app_url, min_size=1, max_size=SIZE, connect=connect)
    connections = Connections(pool)
    try:
        away, _ = True, await connections.acquire(WAIT_S)
        for _ in range(SIZE + 1):
            with pytest.raises(OSError, match="away"):
                await connections.acquire(WAIT_S)
        away = False
        await connections.acquire(WAIT_S)
    finally:
        connections.terminate()


async def test_an_open_transaction_ends_with_its_request(house: Database) -> None:
    async with house.connection() as connection:
        await connection.execute("BEGIN")
        await connection.execute("INSERT INTO thing VALUES ('a', 1)")
    for _ in range(SIZE):
        async with house.connection() as connection:
            assert not connection.is_in_transaction()
            assert await connection.fetchval("SELECT count(*) FROM thing") == 0


async def test_what_broke_while_nobody_used_it_is_replaced(house: Database, connection: asyncpg.Connection) -> None:
    pid = await backend(house)
    assert await connection.fetchval("SELECT pg_terminate_backend($1, 5000)", pid)
    assert await backend(house) != pid
    for _ in range(SIZE):  # its place was not lost
        async with house.connection(), house.connection():
            pass


async def test_after_a_failure_there_are_as_many_as_before(house: Database) -> None:
    for _ in range(SIZE + 1):
        with pytest.raises(asyncpg.UndefinedTableError):
            async with house.connection() as connection:
                await connection.execute("SELECT * FROM nowhere")
    async with house.connection(), house.connection():
        with pytest.raises(Unavailable):
            async with house.connection():
                raise AssertionError("there are no more than the pool has")
