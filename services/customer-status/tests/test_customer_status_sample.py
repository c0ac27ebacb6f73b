"""The worker verifies samples all the time; what it finds is a metric and a line in the log (docs/operations.md)."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import asyncpg
import pytest
from customer_status.audit.sample import check_some
from devstack import ServiceDatabase
from eventing.sampling import Sampler
from eventing.testing import wait_until
from programme.terms import Programme
from prometheus_client import REGISTRY

CHECK = "members whose events are counted"
DAY = "2026-03-{:02}T10:00:00Z"


def sampled() -> float:
    return REGISTRY.get_sample_value("eventing_verify_sampled_total") or 0.0


def faults() -> float:
    return REGISTRY.get_sample_value("eventing_verify_faults_total", {"check": CHECK}) or 0.0


async def until_more_is_sampled() -> None:
    before = sampled()

    async def more() -> bool:
        return sampled() > before

    await wait_until(more)


@pytest.fixture
async def sampler(database: ServiceDatabase, programme: Programme) -> AsyncIterator[asyncio.Task[None]]:
    """The part of the worker, as it runs there, only more often."""
    stop = asyncio.Event()
    sample = partial(check_some, programme=programme)
    part = Sampler("customer-status", database.app_url, sample, every_s=0.01, retry_s=0.01)
    running = asyncio.create_task(part.run(stop))
    yield running
    stop.set()
    await asyncio.wait_for(running, 10)


async def test_a_damaged_row_raises_the_metric(
    sampler: asyncio.Task[None],
    conn: asyncpg.Connection,
    feed: Any,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    await feed(*(feed.purchase(f"M{n}", f"p{n}", DAY.format(1), 100_000) for n in range(50)))
    before = faults()
    await until_more_is_sampled()
    await until_more_is_sampled()
    assert faults() == before
    await conn.execute("UPDATE member SET events = 3 WHERE member_id = 'M49'")

    async def found() -> bool:
        return faults() > before

    await wait_until(found)
    assert (REGISTRY.get_sample_value("eventing_verify_last_run_timestamp_seconds") or 0) > 1.7e9
    assert "M49" in caplog.text + "".join(capfd.readouterr())  # whether or not a test before has configured the logs


async def test_an_empty_database_has_no_faults(
    conn: asyncpg.Connection, sampler: asyncio.Task[None], feed: Any
) -> None:
    before = faults()
    await feed.bought("M1", "p1", DAY.format(1), 100_000)
    await until_more_is_sampled()
    assert faults() == before


async def test_a_lost_connection_does_not_end_it(
    conn: asyncpg.Connection, sampler: asyncio.Task[None], feed: Any
) -> None:
    await feed.bought("M1", "p1", DAY.format(1), 100_000)
    await until_more_is_sampled()
    mine = (
        "SELECT pid FROM pg_stat_activity"
        " WHERE application_name = 'customer-status-verify' AND datname = current_database()"
    )
    pid = await conn.fetchval(mine)
    await conn.execute("SELECT pg_terminate_backend($1)", pid)

    async def another() -> bool:
        return (await conn.fetchval(mine)) not in (None, pid)

    await wait_until(another)
    await until_more_is_sampled()
    assert not sampler.done()
