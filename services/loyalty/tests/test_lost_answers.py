"""The answer to a checkout was lost, and it asks again on the next day: the same answer, and nothing happens twice.

The next day may be another year, in which points have expired and vouchers have ended: what would be decided otherwise
by then is not decided anew.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import msgspec
import pytest
from devstack import ServiceDatabase
from httpx import Response
from loyalty.audit.verify import verify
from programme.instants import parse_instant
from programme.terms import Programme, Reward
from webapi.idempotency import purge

Ask = Callable[[Any], Awaitable[Response]]
BOUGHT_US = parse_instant("2026-11-22T11:00:00Z")
MIDSUMMER_US = parse_instant("2029-06-21T11:00:00Z")
LAST_EVENING_US = parse_instant("2029-12-31T22:30:00Z")
"""Half an hour before what was bought in 2026 expires, and before what was issued then ends."""


@pytest.fixture(scope="session")
def programme(programme: Programme) -> Programme:
    """The terms with a mug among the rewards."""
    mug = Reward(points=300, kind="product", name="Mug", sku="770021")
    terms = programme.terms[0]
    return Programme((msgspec.structs.replace(terms, rewards={**terms.rewards, "mug": mug}),))


async def ask_for_a_voucher(till: Any) -> Response:
    answer: Response = await till.spend("M1", "order-1")
    return answer


async def ask_for_a_mug(till: Any) -> Response:
    answer: Response = await till.spend("M1", "order-1", "mug")
    return answer


async def give_points(till: Any) -> Response:
    body = {"points": 300, "reason": "goodwill", "text": "The parcel came late"}
    headers = {"Idempotency-Key": "parcel-1"}
    answer: Response = await till.api.post("/v1/members/M1/adjustments", json=body, headers=headers)
    return answer


async def what_there_is(till: Any, conn: asyncpg.Connection) -> tuple[int, ...]:
    """Rows of everything that a request can add to."""
    tables = ("ledger_entry", "voucher", "product_order", "adjustment", "voucher_redemption", "outbox")
    return tuple([await conn.fetchval(f"SELECT count(*) FROM {table}") for table in tables])


@pytest.fixture
def next_day(till: Any, conn: asyncpg.Connection, database: ServiceDatabase) -> Callable[[], Awaitable[None]]:
    """A day passes, for the database too, and what is kept of old requests is tidied."""

    async def pass_by() -> None:
        till.later(days=1)
        owner = await asyncpg.connect(database.owner_url)
        await owner.execute("UPDATE idempotency_key SET created_at = created_at - interval '1 day'")
        await owner.close()
        await purge(conn, 1_000)

    return pass_by


NextDay = Callable[[], Awaitable[None]]


@pytest.mark.parametrize(("asked_us", "expired"), [(MIDSUMMER_US, False), (LAST_EVENING_US, True)])
@pytest.mark.parametrize(
    ("ask", "left", "not_expired"),
    [(ask_for_a_voucher, 700, 0), (ask_for_a_mug, 900, 0), (give_points, 1500, 300)],
)
async def test_asked_again_with_its_key_on_the_next_day(
    till: Any,
    conn: asyncpg.Connection,
    programme: Programme,
    next_day: NextDay,
    ask: Ask,
    left: int,
    not_expired: int,
    asked_us: int,
    expired: bool,
) -> None:
    till.now_us = BOUGHT_US
    await till.bought("M1", "p1", 1200)
    till.now_us = asked_us
    first = await ask(till)
    assert (first.status_code, await till.balance("M1")) == (201, left)
    there_was = await what_there_is(till, conn)
    await next_day()
    again = await ask(till)
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["Idempotency-Replayed"] == "true"
    assert await what_there_is(till, conn) == there_was
    assert await till.balance("M1") == (not_expired if expired else left)
    report = await verify(conn, programme)
    assert report.is_clean, "\n".join(report.lines())


@pytest.mark.parametrize("asked_us", [MIDSUMMER_US, LAST_EVENING_US])
async def test_a_redemption_asked_for_again_on_the_next_day(
    till: Any, conn: asyncpg.Connection, programme: Programme, next_day: NextDay, asked_us: int
) -> None:
    """Without a key: it is the purchase's (rules 3.10). A voucher that has ended since was used in time."""
    till.now_us = BOUGHT_US
    await till.bought("M1", "p1", 1000)
    used, unused = (await till.voucher("M1", "order-1"))[0], (await till.voucher("M1", "order-2"))[0]
    till.now_us = asked_us
    first = await till.ask("redeem", used, "shop-1")
    assert first.status_code == 200
    there_was = await what_there_is(till, conn)
    await next_day()
    again = await till.ask("redeem", used, "shop-1")
    assert (again.status_code, again.json()) == (200, first.json())
    assert await what_there_is(till, conn) == there_was
    assert await till.tell("redeem", used, "shop-2") == "voucher_already_redeemed"
    ended = asked_us == LAST_EVENING_US
    assert await till.tell("redeem", unused, "shop-2") == ("voucher_expired" if ended else "redeemed")
    report = await verify(conn, programme)
    assert report.is_clean, "\n".join(report.lines())
