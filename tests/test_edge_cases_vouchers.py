"""The cases about vouchers that purchase events name, and about points that are lost, through Kafka and HTTP.

Like test_edge_cases.py: everything happens before the first test. Members earn 1,000 points, turn 500 of them into a
voucher, some redeem or cancel it over HTTP, and then the events come in that name it.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

COMPLETED, RETURNED = "kundenclub.purchase.completed.v1", "kundenclub.purchase.returned.v1"
NOW = datetime.now(UTC) - timedelta(minutes=10)
BASKET = {"goods": 2000}

OWNERS = [
    f"vou-{name}"
    for name in ("returned", "offline", "order1", "order2", "cancelled", "nothing", "other", "foreign", "late", "old")
]
NEW = [f"vou-new{number:02}" for number in range(20)]


def bought(member: str, number: str, cents: int, *vouchers: str, at: str | None = None) -> dict[str, Any]:
    line = {"line": 1, "product_class": "goods", "quantity": 1, "amount_cents": cents}
    data = {"purchase_id": f"{member}-{number}", "member_id": member, "currency": "EUR", "lines": [line]}
    data |= {"occurred_at": at or NOW.isoformat(), "vouchers": list(vouchers)}
    return {"type": COMPLETED, "data": data}


def gave_all_back(member: str, number: str, at: str | None = None) -> dict[str, Any]:
    """A complete return of the purchase `<member>-<number>`."""
    data: dict[str, Any] = {
        "return_id": f"{member}-r{number}",
        "purchase_id": f"{member}-{number}",
        "member_id": member,
    }
    data |= {"occurred_at": at or NOW.isoformat(), "lines": [], "complete": True}
    return {"type": RETURNED, "data": data}


@dataclass(frozen=True)
class Desk:
    """What a checkout and the staff do over HTTP."""

    client: httpx.Client

    def spend(self, member: str) -> dict[str, Any]:
        """A new voucher with its code."""
        key = {"Idempotency-Key": f"{member}-voucher"}
        answer = self.client.post(f"/v1/members/{member}/rewards", json={"reward": "voucher-5"}, headers=key)
        assert answer.status_code == 201, answer.text
        voucher: dict[str, Any] = answer.json()
        return voucher

    def redeem(self, code: str, purchase_id: str) -> httpx.Response:
        body = {"code": code, "purchase_id": purchase_id, "cents_by_class": BASKET}
        return self.client.post("/v1/vouchers/redeem", json=body)

    def state(self, code: str) -> str:
        return str(self.client.post("/v1/vouchers/check", json={"code": code}).json()["state"])

    def balance(self, member: str) -> int:
        return int(self.client.get(f"/v1/members/{member}").json()["balance_points"])

    def entries(self, member: str) -> list[tuple[str, int]]:
        """The ledger, oldest first."""
        items = self.client.get(f"/v1/members/{member}/entries", params={"limit": 100}).json()["items"]
        return [(item["kind"], item["points"]) for item in reversed(items)]


@dataclass(frozen=True)
class Known:
    """What came out: loyalty's states by member, what `verify` tells, and the vouchers by their owner."""

    desk: Desk
    points: dict[str, dict[str, Any]]
    verified: str
    vouchers: dict[str, dict[str, Any]]

    def spent(self, *members: str) -> list[int]:
        return [self.points[member]["spent"] for member in members]

    def code(self, owner: str) -> str:
        return str(self.vouchers[owner]["code"])


def first_events() -> list[dict[str, Any]]:
    """What members earn; of `vou-old` and `vou-late` some was earned in 2020 and lost on 1 January 2024."""
    earned = [bought(owner, "p0", 100_000) for owner in OWNERS if owner not in ("vou-old", "vou-late")]
    old = [bought(owner, "p0", 50_000, at="2020-06-01T10:00:00Z") for owner in ("vou-old", "vou-late", "vou-unposted")]
    return earned + old + [bought(owner, "p1", 50_000) for owner in ("vou-old", "vou-late")]


def events_naming(ids: dict[str, str]) -> list[dict[str, Any]]:
    """What tills send once the vouchers are out, by owner."""
    both = [bought(owner, number, 0, ids[owner]) for owner in ("vou-order1", "vou-order2") for number in ("a", "b")]
    return [
        bought("vou-returned", "use", 1500, ids["vou-returned"]),
        gave_all_back("vou-returned", "use"),
        bought("vou-offline", "till", 1500, ids["vou-offline"]),
        *(both[:2] + both[:1:-1]),
        bought("vou-cancelled", "use", 0, ids["vou-cancelled"]),
        bought("vou-nothing", "use", 0, ids["vou-nothing"]),
        bought("vou-friend", "use", 0, ids["vou-other"]),
        bought("vou-friend", "again", 0, ids["vou-other"]),
        bought("vou-foreign", "use", 0, ids["vou-foreign"]),
        bought("vou-foreign", "again", 0, ids["vou-foreign"]),
        gave_all_back("vou-foreign", "again"),
        bought("vou-late", "use", 0, ids["vou-late"], at="2023-06-01T10:00:00Z"),
        bought("vou-late", "again", 0, ids["vou-late"], at="2023-06-01T10:00:00Z"),
        gave_all_back("vou-late", "again", at="2025-06-01T10:00:00Z"),
    ]


@pytest.fixture(scope="module")
def known(system: Any) -> Iterator[Known]:
    headers = {"Authorization": f"Bearer {system.environment['API_KEY']}"}
    with (
        httpx.Client(base_url=system.environment["LOYALTY_URL"], headers=headers, trust_env=False) as client,
        ThreadPoolExecutor(1) as tills,
    ):
        desk = Desk(client)
        publishing = tills.submit(system.publish, [bought(m, "p0", 1_000) for m in NEW] + first_events())
        joined: dict[str, int] = {}
        while not publishing.done() or len(joined) < len(NEW):
            joined |= {member: client.put(f"/v1/members/{member}").status_code for member in NEW}
        publishing.result()
        system.settle()
        vouchers = {owner: desk.spend(owner) for owner in OWNERS}
        assert desk.redeem(vouchers["vou-offline"]["code"], "shop-vou-offline").status_code == 200
        cancelled = client.post(f"/v1/vouchers/{vouchers['vou-cancelled']['voucher_id']}/cancel")
        assert (cancelled.status_code, desk.balance("vou-cancelled")) == (200, 1000)
        system.publish(events_naming({owner: voucher["voucher_id"] for owner, voucher in vouchers.items()}))
        system.settle()
        yield Known(desk, system.state("loyalty", prefix="vou-"), system.run("loyalty", "verify").stdout, vouchers)


def test_voucher_used_on_a_purchase_that_is_fully_returned(known: Known) -> None:
    assert known.spent("vou-returned") == [500]
    assert known.desk.state(known.code("vou-returned")) == "open"
    assert known.desk.redeem(known.code("vou-returned"), "shop-vou-returned").status_code == 200


def test_offline_till_used_a_voucher_that_was_redeemed_elsewhere_meanwhile(known: Known) -> None:
    """Two uses cost 1,000, whichever of them came first; each further one is an entry and an anomaly."""
    assert known.spent("vou-offline", "vou-order1", "vou-order2") == [1000, 1000, 1000]
    assert known.desk.entries("vou-offline") == [
        ("purchase", 1000),
        ("reward", -500),
        ("purchase", 15),
        ("voucher", -500),
    ]
    assert "anomaly, vouchers used more than once" in known.verified


def test_a_voucher_that_an_event_used_cannot_be_redeemed(known: Known) -> None:
    refused = known.desk.redeem(known.code("vou-order1"), "shop-vou-order1")
    assert (refused.status_code, refused.json()["code"]) == (409, "voucher_already_redeemed")


def test_a_cancelled_voucher_turns_up_on_a_purchase(known: Known) -> None:
    assert known.desk.entries("vou-cancelled")[1:] == [("reward", -500), ("voucher", 500), ("voucher", -500)]
    assert known.desk.balance("vou-cancelled") == 500


def test_a_basket_paid_wholly_by_a_voucher_uses_it(known: Known) -> None:
    """A total of 0 is no complete return: `vou-foreign` gave one back, and that was marked complete."""
    assert [known.desk.state(known.code(owner)) for owner in ("vou-nothing", "vou-foreign")] == ["redeemed"] * 2
    assert known.spent("vou-nothing", "vou-foreign") == [500, 500]
    assert sum(points for kind, points in known.desk.entries("vou-foreign") if kind == "voucher") == 0


def test_the_owner_pays_for_uses_under_another_card(known: Known) -> None:
    assert known.spent("vou-other", "vou-friend") == [1000, 0]
    assert known.desk.balance("vou-other") == 0


def test_use_taken_back_after_its_points_would_have_expired(known: Known) -> None:
    """A second use of 2023 spent the points of 2020 in time; given back in 2025, they are lost at the next boundary."""
    state = known.points["vou-late"]
    assert (state["earned"], state["spent"], state["expired"], state["balance"]) == (1000, 500, 500, 0)


def test_expiry_job_did_not_run_for_a_month(known: Known) -> None:
    """Whether or not the entry is written: the balance is without what was lost, and spending writes it first."""
    assert (known.points["vou-unposted"]["expired"], known.desk.balance("vou-unposted")) == (500, 0)
    assert sorted(known.desk.entries("vou-old")) == [
        ("expiry", -500),
        ("purchase", 500),
        ("purchase", 500),
        ("reward", -500),
    ]
    assert known.desk.balance("vou-old") == 0


@pytest.mark.parametrize("member", NEW)
def test_first_purchase_ever_while_the_member_joins(known: Known, member: str) -> None:
    assert (known.points[member]["purchases"], known.points[member]["earned"]) == (1, 10)
    assert known.desk.client.get(f"/v1/members/{member}").json()["joined_at"] is not None
