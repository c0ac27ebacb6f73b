"""A member as of then, over HTTP: what had happened by one instant, as far as it was known by another."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest
from eventing.envelope import new_message
from eventing.records import Message
from httpx import AsyncClient
from loyalty.audit.state import states
from loyalty.points.store import find_account
from loyalty.rewards.service import spend
from loyalty.subscriptions import CUSTOMER_STATUS, PURCHASES
from loyalty.vouchers.codes import parse_keys
from loyalty.vouchers.service import Issued, Vouchers
from programme.facts import PURCHASE_COMPLETED, PURCHASE_RETURNED
from programme.instants import parse_instant
from programme.terms import Programme
from programme.timeline import CUSTOMER_STATUS_CHANGED

Post = Callable[..., Awaitable[None]]

FEBRUARY_3 = "2026-02-03T12:00:00Z"
FEBRUARY_4 = "2026-02-04T12:00:00Z"
MARCH_3 = "2026-03-03T12:00:00Z"
MARCH_4 = "2026-03-04T12:00:00Z"
APRIL_3 = "2026-04-03T12:00:00Z"
MAY_3 = "2026-05-03T12:00:00Z"
A_MOMENT_BEFORE_MAY_3 = "2026-05-03T11:59:59.999999Z"


def message(topic: str, type: str, data: dict[str, Any]) -> Message:
    content = {"member_id": "M1"} | data
    return new_message(topic, type=type, source="urn:test", key="M1", data=json.dumps(content).encode())


def bought(purchase_id: str, at: str, euros: int, vouchers: tuple[str, ...] = ()) -> Message:
    line = {"line": 1, "product_class": "goods", "quantity": 1, "amount_cents": euros * 100}
    data = {"purchase_id": purchase_id, "occurred_at": at, "currency": "EUR", "lines": [line], "vouchers": vouchers}
    return message(PURCHASES, PURCHASE_COMPLETED, data)


def returned(return_id: str, of: str, at: str) -> Message:
    data = {"return_id": return_id, "purchase_id": of, "occurred_at": at, "complete": True, "lines": []}
    return message(PURCHASES, PURCHASE_RETURNED, data)


async def arrive(post: Post, one: Message, at: str) -> None:
    await post(one, received_us=parse_instant(at))


@pytest.fixture
async def story(post: Post) -> None:
    """100 points of 3 March; 1,000 of 3 February that arrive on 3 May, and make the first ones silver."""
    await arrive(post, bought("Y", MARCH_3, 100), MARCH_3)
    await arrive(post, bought("X", FEBRUARY_3, 1_000), MAY_3)
    steps = [
        {"after": None, "level": "basis"},
        {"after": FEBRUARY_3, "level": "silver"},
        {"after": "2027-03-02T23:00:00Z", "level": "basis"},
    ]
    data = {"generation": 1, "events": 2, "timeline": steps}
    await arrive(post, message(CUSTOMER_STATUS, CUSTOMER_STATUS_CHANGED, data), MAY_3)


async def member(api: AsyncClient, **clocks: str) -> dict[str, Any]:
    answer = await api.get("/v1/members/M1", params=clocks)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.usefixtures("story")
@pytest.mark.parametrize(
    ("clocks", "balance", "level"),
    [
        ({}, 1_110, "silver"),
        ({"at": FEBRUARY_4}, 1_000, "silver"),
        ({"at": MARCH_4}, 1_110, "silver"),
        ({"at": "2026-03-03T12:59:59+01:00"}, 1_000, "silver"),
        ({"known_at": A_MOMENT_BEFORE_MAY_3}, 100, "basis"),
        ({"at": MARCH_4, "known_at": A_MOMENT_BEFORE_MAY_3}, 100, "basis"),
        ({"at": MARCH_4, "known_at": MAY_3}, 1_110, "silver"),
        ({"at": "2027-04-01T00:00:00Z"}, 1_110, "basis"),
    ],
)
async def test_both_clocks_decide(api: AsyncClient, clocks: dict[str, str], balance: int, level: str) -> None:
    found = await member(api, **clocks)
    assert (found["balance_points"], found["level"]) == (balance, level)
    assert found["bonus_percent"] == {"basis": 0, "silver": 10}[level]


@pytest.mark.usefixtures("story")
async def test_every_pair_of_instants_gives_what_state_gives(
    api: AsyncClient, conn: asyncpg.Connection, programme: Programme, post: Post
) -> None:
    await arrive(post, returned("R", "X", MARCH_4), "2026-05-04T00:00:00Z")
    instants = [FEBRUARY_4, MARCH_3, APRIL_3, MAY_3, "2026-05-04T00:00:00Z", "2031-01-01T00:00:00Z"]
    balances = set()
    for at in instants:
        for known_at in instants:
            at_us, known_us = parse_instant(at), parse_instant(known_at)
            printed = [state async for state in states(conn, programme, at_us, known_us, 0)]
            answer = await api.get("/v1/members/M1", params={"at": at, "known_at": known_at})
            shown = [answer.json()["balance_points"]] if answer.status_code == 200 else []
            assert shown == [state.balance for state in printed], (at, known_at)
            balances |= set(shown)
    assert balances == {0, 100, 110, 1_000, 1_110}


@pytest.mark.usefixtures("story")
async def test_points_expire_as_of_then(api: AsyncClient) -> None:
    boundary = "2029-12-31T23:00:00Z"
    before, after = await member(api, at="2029-12-31T22:59:59Z"), await member(api, at=boundary)
    assert (before["balance_points"], before["expiring_next"]) == (1_110, {"points": 1_110, "at": boundary})
    assert (after["balance_points"], after["expiring_next"]) == (0, None)


@pytest.mark.parametrize("clocks", [{"at": "2026-03-03T11:59:59Z"}, {"known_at": "2026-03-03T11:59:59Z"}])
async def test_a_member_nothing_was_known_of_then_is_not_found(
    api: AsyncClient, post: Post, clocks: dict[str, str]
) -> None:
    await arrive(post, bought("Y", MARCH_3, 100), MARCH_3)
    answer = await api.get("/v1/members/M1", params=clocks)
    assert (answer.status_code, answer.json()["code"]) == (404, "member_not_found")
    assert (await api.get("/v1/members/M2", params=clocks)).json()["code"] == "member_not_found"
    assert (await member(api, at=MARCH_3, known_at=MARCH_3))["balance_points"] == 100


async def test_joining_is_known_from_its_own_instant_on(api: AsyncClient, post: Post, conn: asyncpg.Connection) -> None:
    await arrive(post, bought("Y", MARCH_3, 100), MARCH_3)
    joined_at = (await api.put("/v1/members/M1")).json()["joined_at"]
    assert (await member(api, at=APRIL_3))["joined_at"] is None
    assert (await member(api, at=joined_at))["joined_at"] == joined_at
    assert (await member(api, at=joined_at, known_at=APRIL_3))["joined_at"] is None


async def test_vouchers_are_open_as_of_then(
    api: AsyncClient, post: Post, conn: asyncpg.Connection, programme: Programme
) -> None:
    """Bought on 4 March; used by a purchase of 3 April that arrives on 3 May."""
    await arrive(post, bought("X", FEBRUARY_3, 700), FEBRUARY_3)
    async with conn.transaction():
        vouchers = Vouchers(programme, parse_keys("1:" + "42" * 32))
        issued = await spend(conn, programme, vouchers, "M1", "voucher-5", parse_instant(MARCH_4))
    assert isinstance(issued, Issued)
    voucher_id = issued.voucher.voucher_id
    await arrive(post, bought("Y", APRIL_3, 10, vouchers=(voucher_id,)), MAY_3)

    async def told(**clocks: str) -> tuple[int, list[str]]:
        found = await member(api, **clocks)
        return found["balance_points"], [each["voucher_id"] for each in found["open_vouchers"]]

    assert await told() == (210, [])
    assert await told(at=MARCH_3) == (700, [])
    assert await told(at=MARCH_4) == (200, [voucher_id])
    assert await told(at=APRIL_3) == (210, [])
    assert await told(at=APRIL_3, known_at=A_MOMENT_BEFORE_MAY_3) == (200, [voucher_id])
    assert await told(known_at=MARCH_3) == (700, [])
    assert await told(at="2031-01-01T00:00:00Z", known_at=APRIL_3) == (0, [])


async def test_without_a_clock_the_kept_sums_are_told_and_agree_with_the_rules(
    api: AsyncClient, post: Post, conn: asyncpg.Connection
) -> None:
    await arrive(post, bought("X", FEBRUARY_3, 700), FEBRUARY_3)
    account = await find_account(conn, "M1")
    assert account is not None
    now = await member(api)
    assert now["balance_points"] == account.balance_points
    assert await member(api, known_at="2105-01-01T00:00:00Z") == now


@pytest.mark.parametrize("name", ["at", "known_at"])
@pytest.mark.parametrize(
    "text",
    [
        "yesterday",
        "2026-03-03",
        "2026-03-03T12:00:00",
        "2026-02-30T12:00:00Z",
        "1998-12-31T12:00:00Z",
        "2200-01-01T00:00:00Z",
        "",
        "1",
    ],
)
async def test_nonsense_is_a_422_problem(api: AsyncClient, name: str, text: str) -> None:
    answer = await api.get("/v1/members/M1", params={name: text})
    assert (answer.status_code, answer.json()["code"]) == (422, "malformed")
    assert answer.json()["errors"][0]["pointer"] == f"#/{name}"
