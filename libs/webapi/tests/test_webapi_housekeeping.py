"""What is forgotten by itself."""

from collections.abc import Callable

import asyncpg
import pytest
from devstack.databases import ServiceDatabase
from fastapi import FastAPI
from webapi import housekeeping, testing
from webapi.database import Database
from webapi.housekeeping import LOCK, forget
from webapi.problems import Unavailable

ANSWERS = """
    INSERT INTO idempotency_key SELECT 'shop', n::text, '', 200, '', now() - make_interval(days => 29 + n % 3)
    FROM generate_series(1, $1::int) n
"""
BOUND = """
    CREATE FUNCTION refuse_many() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF (SELECT count(*) FROM gone) > 10 THEN RAISE EXCEPTION 'too many at once'; END IF;
        RETURN NULL;
    END $$;
    CREATE TRIGGER refuse_many AFTER DELETE ON idempotency_key REFERENCING OLD TABLE AS gone
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_many();
"""


async def kept(connection: asyncpg.Connection) -> int:
    count: int = await connection.fetchval("SELECT count(*) FROM idempotency_key")
    return count


async def test_a_process_forgets_old_answers_by_itself(
    build: Callable[..., FastAPI], owner: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first try mostly comes before there is a connection."""
    monkeypatch.setattr(housekeeping, "RETRY_SECONDS", 0.1)
    await owner.execute(ANSWERS, 3_001)
    await owner.execute(
        "INSERT INTO failed_attempt VALUES ('a', 'k', 1, now() - interval '2 days'), ('b', 'k', 1, now())"
    )

    async def forgotten() -> bool:
        return await kept(owner) == 1_000

    async with testing.running(build()):
        await testing.wait_for(forgotten)
    assert await owner.fetchval("SELECT max(now() - created_at) < interval '30 days' FROM idempotency_key")
    assert await owner.fetchval("SELECT string_agg(client, ' ') FROM failed_attempt") == "b"


async def test_in_steps_and_one_process_at_a_time(database: ServiceDatabase, owner: asyncpg.Connection) -> None:
    await owner.execute(ANSWERS, 75)
    await owner.execute(BOUND)

    async def open_pool() -> "asyncpg.Pool[asyncpg.Record]":
        return await asyncpg.create_pool(database.app_url, min_size=1, max_size=1)

    house = Database(open_pool)

    async def connected() -> bool:
        try:
            async with house.connection():
                return True
        except Unavailable:
            return False

    async with house.opened():
        await testing.wait_for(connected)
        async with owner.transaction():
            await owner.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
            assert await forget(house, step_rows=10) == 0
        assert await forget(house, step_rows=10) == 50
    assert await kept(owner) == 25
