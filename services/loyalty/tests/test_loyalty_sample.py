"""A sample of accounts is checked as `verify` checks all of them."""

from collections.abc import Awaitable, Callable

import asyncpg
import msgspec
from devstack import ServiceDatabase
from eventing.envelope import new_message
from eventing.report import Report
from loyalty.audit.sample import check_some
from loyalty.subscriptions import PURCHASES
from programme.facts import PURCHASE_COMPLETED
from programme.terms import Programme


async def test_a_sample_finds_what_verify_finds(
    post: Callable[..., Awaitable[None]], conn: asyncpg.Connection, database: ServiceDatabase, programme: Programme
) -> None:
    assert await check_some(conn, Report("empty"), programme) == 0
    purchase = {
        "purchase_id": "p1",
        "member_id": "M1",
        "occurred_at": "2026-03-01T10:00:00Z",
        "currency": "EUR",
        "lines": [{"product_class": "goods", "amount_cents": 2_190}],
    }
    data = msgspec.json.encode(purchase)
    await post(new_message(PURCHASES, type=PURCHASE_COMPLETED, source="urn:test", key="M1", data=data))
    right = Report("right")
    assert await check_some(conn, right, programme) == 1
    assert right.is_clean
    owner = await asyncpg.connect(database.owner_url)
    await owner.execute("UPDATE purchase_position SET bonus_percent = 20")
    await owner.close()
    damaged = Report("damaged")
    assert await check_some(conn, damaged, programme) == 1
    assert [finding.name for finding in damaged.differences.values() if finding.count] == [
        "purchases whose posted points are the points due"
    ]
