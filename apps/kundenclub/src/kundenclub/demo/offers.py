"""What members get for their level: staff offer it, more members want a seat than there are, some lack the level."""

import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import httpx
from programme.terms import LEVELS
from rich.table import Table

from kundenclub.demo.checkout import Unexpected, body_of
from kundenclub.demo.receipts import BERLIN
from kundenclub.together import some_at_once

LOOKED_FOR = 50
SLOTS = 12
WANTED_SLOTS = 9
MINUTES_A_SLOT = 30
TOO_LOW, FULL = "level_too_low", ("offer_full", "slot_taken")


@dataclass(frozen=True)
class Campaign:
    """An offer, and how many members of each level ask for it."""

    kind: str
    title: str
    least_level: str
    capacity: int | None
    wanted_by: Mapping[str, int]


CAMPAIGNS = (
    Campaign("discount", "10 % off coffee", "silver", None, {"silver": 40, "basis": 10}),
    Campaign("discount", "15 % off wine", "gold", None, {"gold": 20, "silver": 5}),
    Campaign("event", "Cheese evening", "gold", 25, {"gold": 40, "silver": 5}),
    Campaign("consultation", "Nutrition advice", "gold", None, {"gold": 16}),
)


@dataclass(frozen=True)
class Result:
    """What came of a campaign. `seats` None: no limit."""

    campaign: Campaign
    seats: int | None
    claimed: int
    too_low: int
    full: int


async def claim_offers(customer_status: httpx.AsyncClient) -> list[Result]:
    """Create the campaigns and let members claim them, many at once. Raises Unexpected, httpx.HTTPError."""
    members = {level: await _members_of(customer_status, level) for level in LEVELS}
    return [await _carried_out(customer_status, campaign, members) for campaign in CAMPAIGNS]


def offers_table(results: Sequence[Result]) -> Table:
    """Which offers there are, who got one, and who did not."""
    table = Table(
        title="Offers from a level on: who claimed them, and who was refused",
        title_justify="left",
        box=None,
        pad_edge=False,
        header_style="bold",
    )
    for name in ("offer", "kind", "level"):
        table.add_column(name, no_wrap=True)
    for name in ("seats", "claimed", "level too low", "full"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in results:
        seats = "no limit" if each.seats is None else str(each.seats)
        numbers = (seats, str(each.claimed), str(each.too_low), str(each.full))
        table.add_row(each.campaign.title, each.campaign.kind, each.campaign.least_level.capitalize(), *numbers)
    return table


async def _members_of(http: httpx.AsyncClient, level: str) -> list[str]:
    """The first members with this level by their numbers: the same in every run of the same year."""
    page = body_of(await http.get("/v1/members", params={"level": level, "limit": LOOKED_FOR}), 200)
    return [each["member_id"] for each in page["items"]]


async def _carried_out(http: httpx.AsyncClient, campaign: Campaign, members: Mapping[str, Sequence[str]]) -> Result:
    offer = await _create(http, campaign)
    path = f"/v1/offers/{offer['offer_id']}"
    wanting = [member for level, number in campaign.wanted_by.items() for member in members[level][:number]]
    slots = [each["slot_no"] for each in offer["slots"]][:WANTED_SLOTS]
    answers = await some_at_once(
        http.post(f"{path}/claims", json=_claim(member, slots[number % len(slots)] if slots else None))
        for number, member in enumerate(wanting)
    )
    outcomes = Counter(answer.json().get("code", answer.status_code) for answer in answers)
    claimed, too_low, full = outcomes.pop(201, 0), outcomes.pop(TOO_LOW, 0), sum(outcomes.pop(code, 0) for code in FULL)
    seen = body_of(await http.get(path), 200)["claimed"]
    if outcomes or seen != claimed:
        raise Unexpected(f"{campaign.title}: {seen} claims, {claimed} of them ours, and {dict(outcomes)}")
    return Result(campaign, len(offer["slots"]) or campaign.capacity, claimed, too_low, full)


def _claim(member_id: str, slot_no: int | None) -> dict[str, object]:
    return {"member_id": member_id, "slot_no": slot_no}


async def _create(http: httpx.AsyncClient, campaign: Campaign) -> dict[str, Any]:
    now = datetime.now(BERLIN).replace(second=0, microsecond=0)
    first = (now + timedelta(days=14)).replace(hour=10, minute=0)
    starts = [first + n * timedelta(minutes=MINUTES_A_SLOT) for n in range(SLOTS)]
    slots = [
        {"starts_at": at.isoformat(), "ends_at": (at + timedelta(minutes=MINUTES_A_SLOT)).isoformat()} for at in starts
    ]
    body = {
        "kind": campaign.kind,
        "title": campaign.title,
        "least_level": campaign.least_level,
        "opens_at": now.isoformat(),
        "closes_at": (now + timedelta(days=14)).isoformat(),
        "capacity": campaign.capacity,
        "slots": slots if campaign.kind == "consultation" else [],
    }
    return body_of(await http.post("/v1/offers", json=body, headers={"Idempotency-Key": str(uuid.uuid4())}), 201)
