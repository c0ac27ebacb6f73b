"""Expiry written down (rules 3.9): late, twice, and corrected by what comes later."""

import asyncio
import json
from collections.abc import Awaitable, Callable

import asyncpg
import pytest
from devstack import ServiceDatabase
from eventing.envelope import new_message
from eventing.outbox import unpack
from eventing.records import Message
from eventing.testing import wait_until
from loyalty.audit.verify import verify
from loyalty.points import expiry_job
from loyalty.points.expiry_job import ExpiryJob, post_due_expiry
from loyalty.subscriptions import PURCHASES
from programme.facts import PURCHASE_COMPLETED
from programme.instants import parse_instant
from programme.terms import Programme

Post = Callable[..., Awaitable[None]]
NEW_YEAR_2030 = parse_instant("2029-12-31T23:00:00Z")


def bought(purchase_id: str, year: int, euros: int, member_id: str = "M1") -> Message:
    line = {"line": 1, "product_class": "goods", "quantity": 1, "amount_cents": euros * 100}
    data = {"purchase_id": purchase_id, "member_id": member_id, "currency": "EUR", "lines": [line]}
    data["occurred_at"] = f"{year}-05-05T12:00:00Z"
    encoded = json.dumps(data).encode()
    return new_message(PURCHASES, type=PURCHASE_COMPLETED, source="urn:test", key=member_id, data=encoded)


async def run_job(conn: asyncpg.Connection, at_us: int) -> None:
    last_no: int | None = 0
    while last_no is not None:
        last_no = await post_due_expiry(conn, at_us, last_no)


async def entries(conn: asyncpg.Connection) -> list[tuple[str, int, str | None]]:
    rows = await conn.fetch("SELECT kind, points, cause_id FROM ledger_entry ORDER BY account_no, entry_no")
    return [tuple(row) for row in rows]


async def test_it_posts_what_has_expired_and_nothing_the_second_time(
    post: Post, conn: asyncpg.Connection, programme: Programme
) -> None:
    await post(bought("p1", 2026, 700), bought("p2", 2027, 50))
    await run_job(conn, NEW_YEAR_2030 - 1)
    assert [kind for kind, _, _ in await entries(conn)] == ["purchase", "purchase"]
    for _ in range(2):
        await run_job(conn, NEW_YEAR_2030)
    assert (await entries(conn))[2:] == [("expiry", -700, "2030")]
    assert await conn.fetchval("SELECT balance_points FROM account") == 50
    packed = await conn.fetch("SELECT messages FROM outbox ORDER BY outbox_id")
    last = json.loads(unpack(packed[-1]["messages"])[-1].value or b"")
    assert (last["balance_points"], last["entries"][0]["kind"]) == (50, "expiry")
    assert (await verify(conn, programme)).is_clean


async def test_a_late_event_posts_the_difference_at_the_boundary_that_is_posted(
    post: Post, conn: asyncpg.Connection, programme: Programme
) -> None:
    """Years late, or by a clock that lags behind: the expiry of its points follows at once."""
    await post(bought("p1", 2026, 700))
    await run_job(conn, NEW_YEAR_2030)
    await post(bought("p2", 2025, 30))
    assert (await entries(conn))[1:] == [("expiry", -700, "2030"), ("purchase", 30, None), ("expiry", -30, "2030")]
    await run_job(conn, NEW_YEAR_2030 - 1)
    assert len(await entries(conn)) == 4
    assert (await verify(conn, programme)).is_clean


async def test_it_goes_by_account_numbers(
    post: Post, conn: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expiry_job, "NUMBERS_AT_ONCE", 2)
    await post(*[bought("p1", 2026, 10, f"M{n}") for n in range(5)])
    assert await post_due_expiry(conn, NEW_YEAR_2030, 1) == 3
    expired = "SELECT array_agg(account_no ORDER BY 1) FROM ledger_entry WHERE kind = 'expiry'"
    assert await conn.fetchval(expired) == [2, 3]
    await run_job(conn, NEW_YEAR_2030)
    assert await conn.fetchval("SELECT sum(points) FROM ledger_entry") == 0


async def test_the_workers_part_passes_over_what_it_cannot_read_and_runs_until_it_is_stopped(
    post: Post, conn: asyncpg.Connection, database: ServiceDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expiry_job, "NUMBERS_AT_ONCE", 1)
    await post(bought("p1", 2026, 10, "broken"))
    await conn.execute("UPDATE account SET timeline = '[]'")
    await post(bought("p1", 2026, 10))
    stop = asyncio.Event()
    job = asyncio.create_task(ExpiryJob(database.app_url, clock=lambda: NEW_YEAR_2030).run(stop))

    async def posted() -> bool:
        return len(await entries(conn)) == 3

    await wait_until(posted)
    stop.set()
    await job
