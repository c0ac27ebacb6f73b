"""Black box: events go in by Kafka, calls by HTTP; out come states, answers and a clean `verify`."""

import asyncio
import json
import random
from pathlib import Path
from typing import Any

import httpx
import pytest

CASES_FILE = Path(__file__).parents[1] / "contracts" / "conformance" / "cases.jsonl"
CASES = [json.loads(line) for line in CASES_FILE.read_text().splitlines()]
SHUFFLES = 3
LOYALTY_KEYS = ("purchases", "earned", "bonus", "expired", "digest")
CUSTOMER_STATUS_KEYS = ("purchases", "level", "timeline", "digest")

pytestmark = pytest.mark.asyncio(loop_scope="session")


def renamed(event: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {"type": event["type"], "data": event["data"] | {"member_id": prefix + event["data"]["member_id"]}}


def shuffled(prefix: str, seed: int) -> list[dict[str, Any]]:
    """All conformance cases at once, every member under a name of its own, out of order and partly repeated."""
    chance = random.Random(seed)
    events = [renamed(event, f"{prefix}{n}-") for n, case in enumerate(CASES) for event in case["events"]]
    events += chance.sample(events, len(events) // 4)
    chance.shuffle(events)
    return events


@pytest.mark.parametrize("seed", range(SHUFFLES))
async def test_every_conformance_case_in_any_order(system: Any, seed: int) -> None:
    prefix = f"order{seed}-"
    system.publish(shuffled(prefix, seed))
    system.settle()
    [now] = {case["now"] for case in CASES}
    loyalty = system.state("loyalty", at=now, prefix=prefix)
    customer_status = system.state("customer-status", at=now, prefix=prefix)
    expected = {f"{prefix}{n}-{m['member_id']}": m for n, case in enumerate(CASES) for m in case["expect"]}
    assert {name: {key: row[key] for key in LOYALTY_KEYS} for name, row in loyalty.items()} == {
        name: {key: row[key] for key in LOYALTY_KEYS} for name, row in expected.items()
    }
    assert {name: {key: row[key] for key in CUSTOMER_STATUS_KEYS} for name, row in customer_status.items()} == {
        name: {key: row[key] for key in CUSTOMER_STATUS_KEYS} for name, row in expected.items()
    }


def purchases(prefix: str, members: int, each: int) -> list[dict[str, Any]]:
    """Enough spending for levels: members who buy for EUR 120 a month, one line each."""
    return [
        {
            "type": "kundenclub.purchase.completed.v1",
            "data": {
                "purchase_id": f"{prefix}{member:03}-{n:03}",
                "member_id": f"{prefix}{member:03}",
                "occurred_at": f"2025-{n % 12 + 1:02}-{n % 28 + 1:02}T12:{n % 60:02}:00+01:00",
                "currency": "EUR",
                "lines": [{"line": 1, "product_class": "goods", "quantity": 1, "amount_cents": 12_000 + n}],
            },
        }
        for n in range(each)
        for member in range(members)
    ]


async def test_killed_workers_lose_nothing_and_count_nothing_twice(system: Any) -> None:
    """The same events with and without kill -9 of both workers in the middle give the same states."""
    calm, killed = purchases("calm-", 40, 25), purchases("kill-", 40, 25)
    system.publish(calm)
    for half in (killed[:500], killed[500:]):
        publishing = asyncio.create_task(asyncio.to_thread(system.publish, half))
        await system.kill_and_wait("loyalty-worker", "customer-status-worker")
        await publishing
    await asyncio.to_thread(system.settle)
    for service in ("loyalty", "customer-status"):
        without = system.state(service, prefix="calm-").values()
        with_kills = system.state(service, prefix="kill-").values()
        assert [_nameless(row) for row in without] == [_nameless(row) for row in with_kills]
    levels = system.state("customer-status", at="2025-12-31T12:00:00Z", prefix="kill-").values()
    assert {row["level"] for row in levels} == {"gold"}


def _nameless(row: dict[str, Any]) -> dict[str, Any]:
    """Without what differs by the member's name: purchase ids carry it, so the digest does."""
    return {key: value for key, value in row.items() if key not in ("member_id", "digest")}


async def test_a_checkout_spends_what_a_till_earned(system: Any) -> None:
    system.publish(purchases("shop-", 1, 5))
    system.settle()
    headers = {"Authorization": f"Bearer {system.environment['API_KEY']}"}
    async with httpx.AsyncClient(base_url=system.environment["LOYALTY_URL"], headers=headers) as loyalty:
        assert (await loyalty.get("/v1/members/shop-000")).json()["balance_points"] == 600
        spent = await loyalty.post(
            "/v1/members/shop-000/rewards", json={"reward": "voucher-5"}, headers={"Idempotency-Key": "order-1"}
        )
        redeem = {"code": spent.json()["code"], "purchase_id": "shop-order-1", "cents_by_class": {"goods": 2000}}
        assert (await loyalty.post("/v1/vouchers/redeem", json=redeem)).status_code == 200
        refused = await loyalty.post("/v1/vouchers/redeem", json=redeem | {"purchase_id": "shop-order-2"})
        assert (refused.status_code, refused.json()["code"]) == (409, "voucher_already_redeemed")
    async with httpx.AsyncClient(base_url=system.environment["CUSTOMER_STATUS_URL"], headers=headers) as status:
        assert (await status.get("/v1/members/shop-000/status")).json()["level"] == "basis"
    system.settle()
