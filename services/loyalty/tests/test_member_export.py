"""Everything held about a member, in one document."""

import json
from collections.abc import Awaitable, Callable

import pytest
from eventing.envelope import new_message
from httpx import AsyncClient
from loyalty.export import service
from loyalty.subscriptions import PURCHASES
from programme.facts import PURCHASE_COMPLETED

Post = Callable[..., Awaitable[None]]


@pytest.fixture
async def voucher(api: AsyncClient, post: Post) -> dict[str, str]:
    """M1 joined, bought for 700 points, spent 500, and got 5 from staff; the voucher they have."""
    await api.put("/v1/members/M1")
    line = {"line": 1, "product_class": "goods", "quantity": 1, "amount_cents": 70_000}
    data = {"purchase_id": "p1", "member_id": "M1", "currency": "EUR", "lines": [line]}
    encoded = json.dumps(data | {"occurred_at": "2026-11-01T12:00:00Z"}).encode()
    await post(new_message(PURCHASES, type=PURCHASE_COMPLETED, source="urn:test", key="M1", data=encoded))
    body = {"points": 5, "reason": "complaint", "text": "The cup was broken"}
    await api.post("/v1/members/M1/adjustments", json=body, headers={"Idempotency-Key": "k1"})
    reward = await api.post("/v1/members/M1/rewards", json={"reward": "voucher-5"}, headers={"Idempotency-Key": "k2"})
    issued: dict[str, str] = reward.json()
    return issued


async def test_it_holds_everything_but_codes(api: AsyncClient, voucher: dict[str, str]) -> None:
    answer = await api.get("/v1/members/M1/export")
    assert answer.status_code == 200, answer.text
    document = answer.json()
    assert (document["member"]["member_id"], document["member"]["balance_points"]) == ("M1", 205)
    [purchase] = document["purchases"]
    assert (purchase["purchase_id"], purchase["cents_by_class"], purchase["points"]) == ("p1", {"goods": 70_000}, 700)
    assert [each["voucher_id"] for each in document["vouchers"]] == [voucher["voucher_id"]]
    assert [each["text"] for each in document["adjustments"]] == ["The cup was broken"]
    assert [each["points"] for each in document["entries"]] == [-500, 5, 700]
    assert document["timeline"] == [{"after": None, "level": "basis"}]
    for code in (voucher["code"], voucher["code"].replace("-", "")):
        assert code not in answer.text


async def test_of_nobody_and_of_an_erased_member_there_is_none(api: AsyncClient, voucher: dict[str, str]) -> None:
    assert (await api.get("/v1/members/nobody/export")).json()["code"] == "member_not_found"
    await api.delete("/v1/members/M1")
    assert (await api.get("/v1/members/M1/export")).json()["code"] == "member_not_found"


async def test_it_has_an_upper_bound(
    api: AsyncClient, voucher: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MOST_ROWS", 3)
    refused = await api.get("/v1/members/M1/export")
    assert (refused.status_code, refused.json()["code"], refused.json()["rows"]) == (409, "export_too_large", 4)
