"""The Python client against the running system: what a shop and staff do with it, from joining to erasure."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from kundenclub_client import AsyncClient, Client, calls, problems, results

pytestmark = pytest.mark.asyncio(loop_scope="session")

MEMBER = "client-walk-1"


def bought(member_id: str) -> dict[str, Any]:
    data = {
        "purchase_id": f"{member_id}-p1",
        "member_id": member_id,
        "occurred_at": (datetime.now(UTC) - timedelta(days=1)).isoformat(timespec="seconds"),
        "currency": "EUR",
        "lines": [{"product_class": "goods", "amount_cents": 120_000}],
    }
    return {"type": "kundenclub.purchase.completed.v1", "data": data}


def offer_of_staff(url: str, key: str) -> int:
    now = datetime.now(UTC)
    body = {
        "kind": "discount",
        "title": "Coffee",
        "least_level": "silver",
        "opens_at": (now - timedelta(hours=1)).isoformat(),
        "closes_at": (now + timedelta(days=1)).isoformat(),
        "capacity": 1,
        "invites": False,
    }
    headers = {"X-API-Key": key, "Idempotency-Key": "client-walk"}
    answer = httpx.post(f"{url}/v1/offers", json=body, headers=headers, trust_env=False)
    assert answer.status_code == 201, answer.text
    return int(answer.json()["offer_id"])


def shop_and_staff(loyalty_url: str, status_url: str, key: str) -> None:
    """In a thread, with the client for threads."""
    with Client(loyalty_url, api_key=key) as loyalty, Client(status_url, api_key=key) as customer_status:
        seen = loyalty.send_if_changed(calls.member(MEMBER))
        assert seen.etag is not None
        assert loyalty.send_if_changed(calls.member(MEMBER), seen) is seen
        loyalty.send(calls.spend(MEMBER))
        changed = loyalty.send_if_changed(calls.member(MEMBER), seen)
        assert (seen.value.balance_points, changed.value.balance_points) == (1200, 700)

        offer_id = offer_of_staff(status_url, key)
        assert offer_id in [offer.offer_id for offer in customer_status.send(calls.offers(MEMBER)).items]
        claim = customer_status.send(calls.claim(offer_id, MEMBER))
        assert customer_status.send(calls.claim(offer_id, MEMBER)) == claim
        assert offer_id not in [offer.offer_id for offer in customer_status.send(calls.offers(MEMBER)).items]
        cancelled = customer_status.send(calls.cancel_claim(offer_id, MEMBER))
        assert cancelled.cancelled_at is not None
        assert customer_status.send(calls.claims(MEMBER)).items == [cancelled]
        with pytest.raises(problems.OfferNotFound):
            customer_status.send(calls.claim(offer_id + 1_000_000, MEMBER))


async def staff(loyalty_url: str, status_url: str, key: str) -> None:
    """With the client for event loops."""
    async with (
        AsyncClient(loyalty_url, api_key=key) as loyalty,
        AsyncClient(status_url, api_key=key) as customer_status,
    ):
        at = datetime.now(UTC)
        decided = await customer_status.send(
            calls.decide(MEMBER, "email", granted=True, source="webshop", decided_at=at)
        )
        assert decided.consents == [results.Consent(channel="email", granted=True, source="webshop", decided_at=at)]
        assert await customer_status.send(calls.consents(MEMBER)) == decided
        exported = await loyalty.send(calls.export(MEMBER))
        assert exported["member"]["member_id"] == MEMBER
        assert (await customer_status.send(calls.export(MEMBER)))["member_id"] == MEMBER
        seen = await loyalty.send_if_changed(calls.member(MEMBER))
        assert await loyalty.send_if_changed(calls.member(MEMBER), seen) is seen
        await loyalty.send(calls.erase(MEMBER))
        await loyalty.send(calls.erase(MEMBER))
        with pytest.raises(problems.MemberNotFound):
            await loyalty.send(calls.member(MEMBER))


async def test_from_joining_to_erasure(system: Any) -> None:
    system.publish([bought(MEMBER)])
    system.settle()
    environment = system.environment
    where = environment["LOYALTY_URL"], environment["CUSTOMER_STATUS_URL"], environment["API_KEY"]
    await asyncio.to_thread(shop_and_staff, *where)
    await staff(*where)
