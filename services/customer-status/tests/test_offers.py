"""Offers and claims as callers see them: what staff may do, what members may claim, and every refusal by its name."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx
import pytest
from customer_status.main import build
from customer_status.offers import store
from customer_status.parameters import now_us
from customer_status.settings import ApiSettings
from devstack import ServiceDatabase
from programme.instants import parse_instant, to_datetime
from programme.terms import Programme
from webapi.testing import credential, running

NOW = "2026-06-01T10:00:00Z"
EVENT = {
    "kind": "event",
    "title": "Late night shopping",
    "least_level": "gold",
    "opens_at": "2026-05-01T00:00:00Z",
    "closes_at": "2026-07-01T00:00:00Z",
    "capacity": 2,
}
DISCOUNT = EVENT | {"kind": "discount", "title": "10 % on fragrances", "least_level": "silver", "capacity": None}
SLOTS = [
    {"starts_at": "2026-06-10T10:00:00Z", "ends_at": "2026-06-10T11:00:00Z", "label": "Ms Sommer"},
    {"starts_at": "2026-06-10T11:00:00Z", "ends_at": "2026-06-10T12:00:00Z", "label": "Ms Sommer"},
]
CONSULTATION = EVENT | {"kind": "consultation", "title": "Colours", "capacity": None, "slots": SLOTS}


class Shop:
    """Staff and shop in one: calls, at a time the test sets."""

    def __init__(self, client: httpx.AsyncClient, headers: dict[str, str]) -> None:
        self.client = client
        self.headers = headers
        self.now = NOW
        self.keys = 0

    async def __call__(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        return await self.client.request(method, f"/v1{path}", headers=self.headers, **arguments)

    async def create(self, body: dict[str, Any], key: str | None = None) -> httpx.Response:
        self.keys += 1
        headers = self.headers | {"Idempotency-Key": key or f"k{self.keys}"}
        return await self.client.post("/v1/offers", headers=headers, json=body)

    async def created(self, body: dict[str, Any]) -> str:
        answer = await self.create(body)
        assert answer.status_code == 201, answer.text
        return f"/offers/{answer.json()['offer_id']}"

    async def claim(self, offer: str, member_id: str, slot_no: int | None = None) -> tuple[int, str]:
        """Status, and the problem's code or the claim's number."""
        body = {"member_id": member_id} | ({} if slot_no is None else {"slot_no": slot_no})
        answer = await self("POST", f"{offer}/claims", json=body)
        return answer.status_code, str(answer.json().get("code") or answer.json()["claim_no"])

    async def claimable(self, member_id: str) -> list[str]:
        answer = await self("GET", f"/offers?member_id={member_id}")
        assert answer.status_code == 200, answer.text
        return [f"/offers/{offer['offer_id']}" for offer in answer.json()["items"]]


@pytest.fixture
async def shop(database: ServiceDatabase, programme: Programme, conn: asyncpg.Connection) -> AsyncIterator[Shop]:
    app = build(ApiSettings(database_url=database.app_url), programme)
    headers = await credential(conn, "offers:write", "claims:write", "members:read")
    async with running(app) as client:
        shop = Shop(client, headers)
        app.dependency_overrides[now_us] = lambda: parse_instant(shop.now)
        yield shop


@pytest.fixture(autouse=True)
async def members(feed: Any) -> None:
    """One of each level, and a second gold one."""
    day = "2026-02-01T10:00:00Z"
    await feed(
        feed.purchase("basis", "p1", day, 100),
        feed.purchase("silver", "p1", day, 100_000),
        feed.purchase("gold", "p1", day, 300_000),
        feed.purchase("gold2", "p1", day, 300_000),
        feed.purchase("gold3", "p1", day, 300_000),
    )


async def test_an_event_is_claimed_until_it_is_full_and_a_cancelled_seat_is_free_again(shop: Shop) -> None:
    offer = await shop.created(EVENT)
    first = await shop.claim(offer, "gold")
    assert first[0] == 201
    assert await shop.claim(offer, "gold") == (200, first[1])
    assert (await shop.claim(offer, "gold2"))[0] == 201
    assert await shop.claim(offer, "gold3") == (409, "offer_full")
    cancelled = await shop("DELETE", f"{offer}/claims/gold")
    assert (cancelled.status_code, cancelled.json()["cancelled_at"]) == (200, NOW)
    assert (await shop("DELETE", f"{offer}/claims/gold")).json() == cancelled.json()
    assert (await shop.claim(offer, "gold3"))[0] == 201
    assert (await shop("GET", offer)).json()["claimed"] == 2
    claims = (await shop("GET", f"{offer}/claims")).json()["items"]
    assert [(claim["member_id"], claim["cancelled_at"]) for claim in claims] == [
        ("gold", NOW),
        ("gold2", None),
        ("gold3", None),
    ]
    assert [claim["level"] for claim in (await shop("GET", "/members/gold3/claims")).json()["items"]] == ["gold"]


async def test_levels_open_offers(shop: Shop) -> None:
    event, discount = await shop.created(EVENT), await shop.created(DISCOUNT)
    assert await shop.claimable("basis") == []
    assert await shop.claimable("silver") == [discount]
    assert await shop.claimable("gold") == [event, discount]
    assert await shop.claim(discount, "basis") == (409, "level_too_low")
    assert await shop.claim(event, "silver") == (409, "level_too_low")
    assert (await shop.claim(discount, "silver"))[0] == 201
    assert await shop.claimable("silver") == [], "claimed already"


async def test_the_period_of_an_offer(shop: Shop) -> None:
    offer = await shop.created(EVENT)
    for now, answer in [
        ("2026-04-30T23:59:59.999999Z", (409, "not_open_yet")),
        ("2026-05-01T00:00:00Z", None),
        ("2026-06-30T23:59:59.999999Z", None),
        ("2026-07-01T00:00:00Z", (409, "offer_closed")),
    ]:
        shop.now = now
        assert await shop.claimable("gold") == ([] if answer else [offer])
        claimed = await shop.claim(offer, "gold")
        assert claimed == answer or (answer is None and claimed[0] == 201), now
        await shop("DELETE", f"{offer}/claims/gold")


async def test_a_level_opens_offers_from_after_its_instant_until_it_lapses(shop: Shop) -> None:
    offer = await shop.created(EVENT | {"opens_at": "2026-01-01T00:00:00Z", "closes_at": "2028-01-01T00:00:00Z"})
    for now, status in [
        ("2026-02-01T10:00:00Z", 409),
        ("2026-02-01T10:00:00.000001Z", 201),
        ("2027-01-31T23:00:00Z", 201),
        ("2027-01-31T23:00:00.000001Z", 409),
    ]:
        shop.now = now
        assert (await shop.claim(offer, "gold"))[0] == status, now
        await shop("DELETE", f"{offer}/claims/gold")


async def test_a_level_lost_later_keeps_the_claim(shop: Shop, feed: Any) -> None:
    offer = await shop.created(EVENT)
    made = await shop.claim(offer, "gold")
    await feed.returned("gold", "r1", "2026-02-02T10:00:00Z", of="p1", complete=True)
    assert await shop.claim(offer, "gold") == (200, made[1])
    assert await shop.claimable("gold") == []
    await shop("DELETE", f"{offer}/claims/gold")
    assert await shop.claim(offer, "gold") == (409, "level_too_low")


async def test_slots_of_a_consultation(shop: Shop) -> None:
    offer = await shop.created(CONSULTATION)
    assert await shop.claim(offer, "gold") == (422, "malformed")
    assert await shop.claim(offer, "gold", 7) == (404, "slot_not_found")
    assert (await shop.claim(offer, "gold", 1))[0] == 201
    assert (await shop.claim(offer, "gold", 1))[0] == 200
    assert await shop.claim(offer, "gold", 2) == (409, "already_claimed")
    assert await shop.claim(offer, "gold2", 1) == (409, "slot_taken")
    shop.now = "2026-06-10T11:00:00Z"
    assert await shop.claim(offer, "gold2", 2) == (409, "slot_over")
    assert await shop.claimable("gold2") == []
    shop.now = "2026-06-10T10:59:59.999999Z"
    assert await shop.claimable("gold2") == [offer]
    assert (await shop.claim(offer, "gold2", 2))[0] == 201
    assert await shop.claimable("gold3") == []
    await shop("DELETE", f"{offer}/claims/gold")
    assert [slot["is_free"] for slot in (await shop("GET", offer)).json()["slots"]] == [True, False]


async def test_staff_change_an_offer_but_not_what_was_claimed(shop: Shop) -> None:
    offer = await shop.created(EVENT)
    await shop.claim(offer, "gold")
    await shop.claim(offer, "gold2")
    below = await shop("PATCH", offer, json={"capacity": 1})
    assert (below.status_code, below.json()["code"], below.json()["claimed"]) == (409, "capacity_below_claims", 2)
    changed = (await shop("PATCH", offer, json={"capacity": 3, "title": "Very late"})).json()
    assert (changed["capacity"], changed["title"], changed["claimed"]) == (3, "Very late", 2)
    closed = await shop("POST", f"{offer}/close")
    assert (closed.status_code, closed.json()["closed_at"]) == (200, NOW)
    shop.now = "2026-06-02T00:00:00Z"
    assert (await shop("POST", f"{offer}/close")).json() == closed.json()
    assert await shop.claim(offer, "gold3") == (409, "offer_closed")
    assert (await shop.claim(offer, "gold"))[0] == 200
    assert (await shop("PATCH", offer, json={"capacity": 9})).json()["code"] == "offer_closed"


async def test_staff_add_and_remove_slots(shop: Shop) -> None:
    offer = await shop.created(CONSULTATION)
    await shop.claim(offer, "gold", 1)
    taken = await shop("PATCH", offer, json={"remove_slots": [1]})
    assert (taken.status_code, taken.json()["code"]) == (409, "slot_taken")
    later = {"starts_at": "2026-06-11T10:00:00Z", "ends_at": "2026-06-11T11:00:00Z", "label": "Ms Sommer"}
    change = {"remove_slots": [2], "add_slots": [later]}
    slots = (await shop("PATCH", offer, json=change)).json()["slots"]
    assert [slot["slot_no"] for slot in slots] == [1, 3]
    assert (await shop("PATCH", offer, json={"add_slots": [later]})).json()["slots"] == slots, "added once"
    assert (await shop("PATCH", offer, json={"remove_slots": [2]})).json()["code"] == "slot_not_found"
    assert await shop.claim(offer, "gold2", 2) == (404, "slot_not_found")


async def test_creating_with_the_same_key_creates_once(shop: Shop) -> None:
    first, again = await shop.create(EVENT, "one"), await shop.create(EVENT, "one")
    assert (again.status_code, again.json()) == (201, first.json())
    assert len((await shop("GET", "/offers")).json()["items"]) == 1


WRONG: list[dict[str, Any]] = [
    {"kind": "lottery"},
    {"title": ""},
    {"title": "x\x00"},
    {"least_level": "basis"},
    {"least_level": "silver"},
    {"capacity": 0},
    {"capacity": None},
    {"capacity": 2**40},
    {"closes_at": "2026-05-01T00:00:00Z"},
    {"opens_at": "2026-05-01"},
    {"closes_at": "9999-12-31T23:59:59Z"},
    {"slots": SLOTS},
    {"kind": "consultation"},
    {"kind": "consultation", "capacity": None, "slots": [SLOTS[0] | {"ends_at": "2026-06-10T10:00:00Z"}]},
    {"kind": "consultation", "capacity": None, "slots": SLOTS * 101},
    {"colour": "red"},
]


async def test_an_offer_that_makes_no_sense_is_malformed(shop: Shop) -> None:
    for wrong in WRONG:
        answer = await shop.create(EVENT | wrong)
        assert (answer.status_code, answer.json()["code"]) == (422, "malformed"), wrong
    assert (await shop("GET", "/offers")).json()["items"] == []


async def test_bad_calls_are_refused_by_name(shop: Shop) -> None:
    offer = await shop.created(EVENT)
    for path in ("/offers/0", f"/offers/{2**63}", "/offers/x"):
        assert (await shop("GET", path)).status_code == 422
    assert await shop.claim("/offers/999", "gold") == (404, "offer_not_found")
    assert await shop.claim(offer, "nobody") == (404, "member_not_found")
    assert await shop.claim(offer, "M 1") == (422, "malformed")
    assert await shop.claim(offer, "gold", 1) == (422, "malformed")
    assert (await shop("DELETE", f"{offer}/claims/gold")).json()["code"] == "claim_not_found"
    assert (await shop("PATCH", offer, json={"title": None})).status_code == 422
    assert (await shop("PATCH", "/offers/999", json={})).json()["code"] == "offer_not_found"
    assert (await shop("POST", "/offers/999/close")).json()["code"] == "offer_not_found"
    assert (await shop("GET", "/offers?member_id=nobody")).json()["code"] == "member_not_found"
    assert (await shop("GET", "/members/nobody/claims")).json()["code"] == "member_not_found"
    assert (await shop("GET", offer)).json()["claimed"] == 0


async def test_lists_come_in_pages(shop: Shop) -> None:
    offers = [await shop.created(DISCOUNT) for _ in range(3)]
    found: list[str] = []
    cursor = ""
    while True:
        answer = (await shop("GET", f"/offers?member_id=silver&limit=2{cursor}")).json()
        found += [f"/offers/{offer['offer_id']}" for offer in answer["items"]]
        if answer["next_cursor"] is None:
            break
        cursor = f"&cursor={answer['next_cursor']}"
    assert found == offers


async def test_erasing_a_member_frees_their_seats(shop: Shop, conn: asyncpg.Connection) -> None:
    offer = await shop.created(EVENT | {"capacity": 1})
    await shop.claim(offer, "gold")
    account_no = await conn.fetchval("SELECT account_no FROM member WHERE member_id = 'gold'")
    async with conn.transaction():
        await store.forget(conn, [account_no], parse_instant(NOW))
    assert (await shop.claim(offer, "gold2"))[0] == 201
    assert await store.miscounted(conn) == []


async def test_the_database_itself_refuses_a_seat_too_many(shop: Shop, conn: asyncpg.Connection) -> None:
    offer = await shop.created(EVENT | {"capacity": 1})
    await shop.claim(offer, "gold")
    with pytest.raises(asyncpg.CheckViolationError):
        await conn.execute("UPDATE offer SET claimed = 2")
    with pytest.raises(asyncpg.UniqueViolationError):
        await conn.execute(
            """
            INSERT INTO offer_claim (offer_id, account_no, level, claimed_at)
            SELECT offer_id, account_no, level, $1 FROM offer_claim""",
            to_datetime(parse_instant(NOW)),
        )
    for statement in ("DELETE FROM offer_claim", "UPDATE offer_claim SET level = ''", "DELETE FROM offer"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await conn.execute(statement)


async def test_scopes(shop: Shop, conn: asyncpg.Connection) -> None:
    offer = await shop.created(EVENT)
    shop.headers = await credential(conn, "claims:write", "members:read", client="shop")
    assert (await shop.create(EVENT)).status_code == 403
    assert (await shop.claim(offer, "gold"))[0] == 201
    shop.headers = await credential(conn, "offers:write", client="staff")
    assert (await shop.create(EVENT)).status_code == 201
    answer = await shop("POST", f"{offer}/claims", json={"member_id": "gold"})
    assert (answer.status_code, answer.json()["missing_scopes"]) == (403, ["claims:write"])
