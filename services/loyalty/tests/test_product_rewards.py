"""Products for points: a second kind of reward, in every place where points that were spent are counted."""

import json
from typing import Any

import asyncpg
import msgspec
import pytest
from eventing.outbox import unpack
from loyalty.audit.state import states
from loyalty.audit.store import entry_sums, histories_of
from loyalty.audit.verify import verify
from loyalty.rebuild.differences import Sides, differences, posted_of
from loyalty.rebuild.store import points_of_rewards
from programme.terms import Programme, Reward


@pytest.fixture(scope="session")
def programme(programme: Programme) -> Programme:
    """The terms with a mug among the rewards."""
    mug = Reward(points=300, kind="product", name="Mug", sku="770021")
    terms = programme.terms[0]
    return Programme((msgspec.structs.replace(terms, rewards={**terms.rewards, "mug": mug}),))


async def test_a_product_is_paid_with_points_and_everything_adds_up(
    till: Any, conn: asyncpg.Connection, programme: Programme
) -> None:
    await till.bought("M1", "p1", 700)
    before_us = till.now_us
    till.later(minutes=1)
    first, again = await till.spend("M1", "order-1", "mug"), await till.spend("M1", "order-1", "mug")
    assert first.status_code == 201
    assert (
        again.json()
        == first.json()
        == {
            "kind": "product",
            "order_id": "product-1",
            "sku": "770021",
            "name": "Mug",
            "points": 300,
            "ordered_at": "2026-11-22T11:01:00Z",
            "balance_points": 400,
        }
    )
    assert again.headers["Idempotency-Replayed"] == "true"
    refused = (await till.spend("M1", "order-2")).json()
    assert (refused["code"], refused["balance_points"], refused["needed_points"]) == ("insufficient_points", 400, 500)
    [entry, _] = (await till.api.get("/v1/members/M1/entries")).json()["items"]
    assert (entry["kind"], entry["points"], entry["cause"]["kind"]) == ("product", -300, "product")
    assert entry["cause"]["text"] == "product-1 was ordered: -300"
    report = await verify(conn, programme)
    assert report.is_clean, "\n".join(report.lines())

    async def spent(at_us: int | None, known_us: int | None) -> list[int]:
        return [each.spent async for each in states(conn, programme, at_us, known_us, till.now_us)]

    assert await spent(None, None) == await spent(till.now_us, till.now_us) == [300]
    assert await spent(before_us, None) == await spent(None, before_us) == [0]
    assert json.loads(await conn.fetchval("SELECT points_by_year FROM account")) == {"2026": [700, 300]}
    packed = await conn.fetchval("SELECT messages FROM outbox ORDER BY outbox_id DESC LIMIT 1")
    [posted, ordered] = unpack(packed)
    assert json.loads(posted.value or b"")["entries"][0]["kind"] == "product"
    assert json.loads(ordered.value or b"")["order_id"] == "product-1"


async def test_points_spent_on_a_product_do_not_expire(till: Any, conn: asyncpg.Connection) -> None:
    await till.bought("M1", "p1", 700)
    await till.spend("M1", "order-1", "mug")
    till.now_us = 1893456000_000_000  # 2030-01-01
    member = (await till.api.get("/v1/members/M1")).json()
    assert member["balance_points"] == 0
    assert (await till.api.get("/v1/members/M1", params={"at": "2029-12-31T00:00:00Z"})).json()["expiring_next"] == {
        "points": 400,
        "at": "2029-12-31T23:00:00Z",
    }


async def test_a_rebuild_sees_a_lost_entry_and_a_lost_order(till: Any, conn: asyncpg.Connection) -> None:
    await till.bought("M1", "p1", 700)
    await till.spend("M1", "order-1", "mug")
    [live] = await histories_of(conn, ["M1"])
    number = live.account.account_no
    sums, by_reward = await entry_sums(conn, [number]), (await points_of_rewards(conn, [number]))[number]
    assert by_reward == {"product-1": 300}
    assert list(differences(Sides(live, posted_of(sums, by_reward, {}), live))) == []
    unposted = list(differences(Sides(live, posted_of(sums, {}, {}), live)))
    assert unposted == [("wrong points of a product", "product-1 0 by its entries, due 300")]
    lost = {cause for cause, _ in differences(Sides(live._replace(products=[]), posted_of(sums, by_reward, {}), live))}
    assert "entries of a voucher or product order there is not: bring its row back" in lost


async def test_the_catalogue_is_that_of_the_terms_in_force(till: Any) -> None:
    items = (await till.api.get("/v1/rewards")).json()["items"]
    assert [(item["reward"], item["kind"], item["points"]) for item in items] == [
        ("mug", "product", 300),
        ("voucher-5", "voucher", 500),
    ]
    assert (items[0]["value_cents"], items[0]["sku"], items[1]["value_cents"], items[1]["sku"]) == (
        None,
        "770021",
        500,
        None,
    )
    await till.bought("M1", "p1", 700)
    assert (await till.spend("M1", "order-1", "tea")).json()["code"] == "reward_not_found"
    assert (await till.api.get("/v1/members/M1")).json()["points_to_next_voucher"] == 0
