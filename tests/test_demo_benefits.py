"""The demo's offers and contacts, on a few members: what its tables say is what happened."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from eventing.kafka import KafkaConfig
from kundenclub.databases import open_databases
from kundenclub.demo import contacts as demo_contacts
from kundenclub.demo import offers as demo_offers
from kundenclub.demo.contacts import Contacts, contacts_lines, contacts_table, give_consents, read_contacts
from kundenclub.demo.offers import Campaign, Result, claim_offers, offers_table
from programme.terms import load_programme
from rich.console import Console

pytestmark = pytest.mark.asyncio(loop_scope="session")

PREFIX = "000-benefits-"  # before all others in lists by member
CENTS = {"gold": 400_000, "silver": 150_000, "basis": 5_000}
WAIT_S = 60.0


def bought(member_id: str, cents: int, days_ago: int) -> dict[str, Any]:
    data = {
        "purchase_id": f"{member_id}-p{days_ago}",
        "member_id": member_id,
        "occurred_at": (datetime.now(UTC) - timedelta(days=days_ago)).isoformat(timespec="seconds"),
        "currency": "EUR",
        "lines": [{"product_class": "goods", "amount_cents": cents}],
    }
    return {"type": "kundenclub.purchase.completed.v1", "data": data}


def shown(table: Any) -> list[list[str]]:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(table)
    return [line.split() for line in capture.get().splitlines()]


async def test_more_members_want_a_seat_than_there_are(system: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    members = [f"{PREFIX}{level}-{n}" for level in CENTS for n in range(4)]
    system.publish([bought(member, CENTS[member.split("-")[2]], 5) for member in members])
    system.settle()
    campaigns = (
        Campaign("discount", "Coffee", "silver", None, {"silver": 3, "basis": 2}),
        Campaign("event", "Cheese", "gold", 3, {"gold": 4, "silver": 1}),
        Campaign("consultation", "Advice", "gold", None, {"gold": 4}),
    )
    monkeypatch.setattr(demo_offers, "CAMPAIGNS", campaigns)
    monkeypatch.setattr(demo_offers, "WANTED_SLOTS", 3)
    monkeypatch.setattr(demo_contacts, "AGREES_EVERY", 1)
    headers = {"Authorization": f"Bearer {system.environment['API_KEY']}"}
    url = system.environment["CUSTOMER_STATUS_URL"]
    async with httpx.AsyncClient(base_url=url, headers=headers, trust_env=False, timeout=30) as http:
        results = await claim_offers(http)
        assert [(each.seats, each.claimed, each.too_low, each.full) for each in results] == [
            (None, 3, 2, 0),
            (3, 3, 1, 1),
            (12, 3, 0, 1),
        ]
        assert await give_consents(http, members) == len(members)
        kafka = KafkaConfig(system.environment["KAFKA_BOOTSTRAP_SERVERS"])
        urls = system.environment["LOYALTY_DATABASE_URL"], system.environment["CUSTOMER_STATUS_DATABASE_URL"]
        programme = load_programme(Path(system.environment["CONTRACTS_DIR"]) / "programme.toml")
        async with open_databases(*urls) as databases:
            found = await read_contacts(databases, kafka, programme, 100, WAIT_S)
    ours = [each for each in found.told if each["member_id"].startswith(PREFIX)]
    kinds = {level: sorted({e["kind"] for e in ours if level in e["member_id"]}) for level in CENTS}
    assert kinds == {
        "gold": ["invitation", "promotion", "survey"],
        "silver": ["invitation", "promotion", "survey"],
        "basis": ["survey"],
    }
    claimed = {f"{PREFIX}silver-{n}" for n in range(3)}  # no need to tell those
    assert claimed.isdisjoint(each["member_id"] for each in ours if each["reason"].get("title") == "Coffee")
    assert found.agreed >= len(members)


async def test_tables_are_readable() -> None:
    event = Campaign("event", "Cheese evening", "gold", 25, {"gold": 40})
    assert shown(offers_table([Result(event, 25, 25, 5, 15), Result(event, None, 1, 0, 0)]))[2:] == [
        ["Cheese", "evening", "event", "Gold", "25", "25", "5", "15"],
        ["Cheese", "evening", "event", "Gold", "no", "limit", "1", "0", "0"],
    ]
    told = [
        {"member_id": "M2", "kind": "survey", "reason": {"purchase_id": "p2", "best_score": 10}},
        {"member_id": "M1", "kind": "survey", "reason": {"purchase_id": "p1", "best_score": 10}},
        {"member_id": "M1", "kind": "at_risk", "reason": {"purchased_on": "2026-09-01"}},
    ]
    contacts = Contacts(told, members=10, agreed=3, held_back=5, held_back_members=2, most_a_month=4)
    at_risk, survey = shown(contacts_table(contacts))[2:]
    assert at_risk[:5] == ["at_risk", "1", "M1", "has", "been"]
    assert survey[:5] == ["survey", "2", "M1", "bought", "p1:"]
    assert contacts_lines(contacts)[0].startswith("3 contacts on kundenclub.contacts, for 2 of the 3 members")
    assert "all of the 7 members who did not agree; 5 more of 2 members" in contacts_lines(contacts)[1]
