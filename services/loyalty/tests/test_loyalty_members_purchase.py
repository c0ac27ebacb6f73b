"""Why a purchase is worth its points, over HTTP on a real database."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest
from devstack import ServiceDatabase
from eventing.envelope import new_message
from eventing.records import Message
from httpx import AsyncClient
from loyalty.members.store import ENTRIES_OF_PURCHASE
from loyalty.subscriptions import CUSTOMER_STATUS, PURCHASES
from programme.facts import PURCHASE_COMPLETED, PURCHASE_RETURNED
from programme.instants import parse_instant
from programme.timeline import CUSTOMER_STATUS_CHANGED

Post = Callable[..., Awaitable[None]]
Arrive = Callable[[Message, str], Awaitable[None]]

VOUCHER = "0123456789abcdef0123456789abcdef"
BASIS = {"after": None, "level": "basis"}


def message(topic: str, type: str, data: dict[str, Any]) -> Message:
    return new_message(topic, type=type, source="urn:test", key=data["member_id"], data=json.dumps(data).encode())


def lines(cents_by_class: dict[str, int]) -> list[dict[str, Any]]:
    return [
        {"line": number, "product_class": name, "amount_cents": cents}
        for number, (name, cents) in enumerate(cents_by_class.items(), 1)
    ]


def bought(purchase_id: str, at: str, member_id: str = "M1", vouchers: tuple[str, ...] = (), **cents: int) -> Message:
    data = {"purchase_id": purchase_id, "member_id": member_id, "occurred_at": at, "currency": "EUR"}
    return message(PURCHASES, PURCHASE_COMPLETED, data | {"lines": lines(cents), "vouchers": vouchers})


def returned(return_id: str, of: str, at: str, member_id: str = "M1", complete: bool = False, **cents: int) -> Message:
    data = {"return_id": return_id, "purchase_id": of, "member_id": member_id, "occurred_at": at}
    return message(PURCHASES, PURCHASE_RETURNED, data | {"complete": complete, "lines": lines(cents)})


def timeline(events: int, *later: tuple[str, str], causes: list[dict[str, str]]) -> Message:
    steps = [BASIS, *({"after": after, "level": level} for after, level in later)]
    data = {"member_id": "M1", "generation": 1, "events": events, "timeline": steps, "causes": causes}
    return message(CUSTOMER_STATUS, CUSTOMER_STATUS_CHANGED, data)


@pytest.fixture
def arrive(post: Post) -> Arrive:
    """`await arrive(message, at)`: a batch of its own, stamped by the log at `at`."""

    async def arrive(one: Message, at: str) -> None:
        await post(one, received_us=parse_instant(at))

    return arrive


@pytest.fixture
async def story(arrive: Arrive) -> None:
    """Y is bought, part of it comes back, and then a larger purchase X of before arrives: its member is silver now."""
    await arrive(
        bought("Y", "2026-03-04T12:00:00Z", vouchers=(VOUCHER,), goods=9_000, tobacco=500), "2026-03-04T12:00:01Z"
    )
    await arrive(returned("R", "Y", "2026-03-05T12:00:00Z", goods=4_000, tobacco=500), "2026-03-05T12:00:01Z")
    await arrive(bought("X", "2026-03-03T12:00:00+01:00", goods=100_000), "2026-03-06T12:00:00Z")
    causes = [{"kind": "purchase", "id": "X", "occurred_at": "2026-03-03T11:00:00Z"}]
    await arrive(timeline(3, ("2026-03-03T11:00:00Z", "silver"), causes=causes), "2026-03-06T12:00:01Z")


async def explain(api: AsyncClient, purchase_id: str) -> dict[str, Any]:
    answer = await api.get(f"/v1/members/M1/purchases/{purchase_id}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.usefixtures("story")
async def test_every_point_of_a_purchase_is_explained(api: AsyncClient) -> None:
    found = await explain(api, "Y")
    entries = found.pop("entries")
    assert found == {
        "member_id": "M1",
        "purchase_id": "Y",
        "occurred_at": "2026-03-04T12:00:00Z",
        "received_at": "2026-03-04T12:00:01Z",
        "terms_valid_from": "2000-01-01",
        "classes": [
            {"product_class": "goods", "amount_cents": 9_000, "earns": True},
            {"product_class": "tobacco", "amount_cents": 500, "earns": False},
        ],
        "eligible_cents": 9_000,
        "returns": [
            {
                "return_id": "R",
                "occurred_at": "2026-03-05T12:00:00Z",
                "received_at": "2026-03-05T12:00:01Z",
                "cents_by_class": {"goods": 4_000, "tobacco": 500},
                "eligible_cents": 4_000,
                "complete": False,
            }
        ],
        "remaining_cents": 5_000,
        "level": {"level": "silver", "after": "2026-03-03T11:00:00Z"},
        "bonus_percent": 10,
        "points": {"base": 50, "bonus": 5, "total": 55},
        "vouchers": [VOUCHER],
    }
    assert [(each["kind"], each["points"], each["cause"]["text"]) for each in entries] == [
        ("level", 5, "purchase X of 2026-03-03 arrived late; Y is silver now: +5"),
        ("return", -40, "return R of 2026-03-05 took back goods of Y: -40"),
        ("purchase", 90, "purchase Y of 2026-03-04: +90"),
    ]
    assert sum(each["points"] for each in entries) == found["points"]["total"]


@pytest.mark.usefixtures("story")
async def test_the_ledger_tells_the_same_causes(api: AsyncClient) -> None:
    ledger = (await api.get("/v1/members/M1/entries")).json()["items"]
    assert [each["entry_no"] for each in ledger] == [4, 3, 2, 1]
    assert [each for each in ledger if each["purchase_id"] == "Y"] == (await explain(api, "Y"))["entries"]
    late = ledger[0]
    assert (late["cause_id"], late["cause"]["kind"], late["cause"]["id"]) == ("purchase X", "purchase", "X")
    [last] = (await api.get("/v1/members/M1/entries?limit=1")).json()["items"]
    assert last == late


@pytest.mark.usefixtures("story")
async def test_the_purchase_that_won_the_level_is_itself_rated_by_the_step_before(api: AsyncClient) -> None:
    """A step holds for purchases strictly later than its `after`."""
    found = await explain(api, "X")
    assert (found["level"], found["bonus_percent"]) == ({"level": "basis", "after": None}, 0)


async def test_a_level_that_only_came_after_the_points_is_not_called_late(api: AsyncClient, arrive: Arrive) -> None:
    await arrive(bought("X", "2026-03-03T12:00:00Z", goods=100_000), "2026-03-03T12:00:00Z")
    await arrive(bought("Y", "2026-03-04T12:00:00Z", goods=9_000), "2026-03-04T12:00:00Z")
    causes = [{"kind": "purchase", "id": "X", "occurred_at": "2026-03-03T12:00:00Z"}]
    await arrive(timeline(2, ("2026-03-03T12:00:00Z", "silver"), causes=causes), "2026-03-04T12:00:01Z")
    text = (await explain(api, "Y"))["entries"][0]["cause"]["text"]
    assert text == "purchase X of 2026-03-03 was judged after Y was posted; Y is silver now: +9"


async def test_a_complete_return_that_waited_leaves_nothing_and_no_entry(api: AsyncClient, arrive: Arrive) -> None:
    await arrive(returned("R", "Y", "2026-03-05T12:00:00Z", complete=True), "2026-03-05T12:00:00Z")
    assert (await api.get("/v1/members/M1/purchases/Y")).json()["code"] == "purchase_not_found"
    await arrive(bought("Y", "2026-03-04T12:00:00Z", goods=9_000), "2026-03-06T12:00:00Z")
    found = await explain(api, "Y")
    assert (found["eligible_cents"], found["remaining_cents"], found["points"]["total"]) == (9_000, 0, 0)
    assert [(each["complete"], each["eligible_cents"]) for each in found["returns"]] == [(True, 0)]
    assert found["entries"] == []


@pytest.mark.usefixtures("story")
async def test_of_two_members_with_one_purchase_id_each_has_their_own(api: AsyncClient, arrive: Arrive) -> None:
    await arrive(bought("Y", "2026-03-04T12:00:00Z", member_id="M2", goods=300), "2026-03-04T12:00:00Z")
    await arrive(returned("R2", "Y", "2026-03-05T12:00:00Z", member_id="M2", goods=100), "2026-03-05T12:00:00Z")
    theirs = (await api.get("/v1/members/M2/purchases/Y")).json()
    assert (theirs["points"]["total"], [each["return_id"] for each in theirs["returns"]]) == (2, ["R2"])
    assert [each["points"] for each in theirs["entries"]] == [-1, 3]
    ours = await explain(api, "Y")
    assert (ours["points"]["total"], [each["return_id"] for each in ours["returns"]]) == (55, ["R"])


@pytest.mark.usefixtures("story")
@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("M1/purchases/Z", 404, "purchase_not_found"),
        ("M1/purchases/R", 404, "purchase_not_found"),
        ("M9/purchases/Y", 404, "member_not_found"),
        ("M1/purchases/a%20b", 422, "malformed"),
    ],
)
async def test_what_is_not_there_is_a_problem(api: AsyncClient, path: str, status: int, code: str) -> None:
    answer = await api.get(f"/v1/members/{path}")
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_the_entries_of_a_purchase_are_found_by_the_index_of_the_account(
    conn: asyncpg.Connection, database: ServiceDatabase
) -> None:
    """In a ledger of many accounts nothing but the account's own entries is read."""
    await conn.execute(
        """
        INSERT INTO ledger_entry (account_no, entry_no, kind, points, purchase_id)
        SELECT account_no, entry_no, 'purchase', 1, format('p%s', entry_no)
        FROM generate_series(1, 500) AS account_no, generate_series(1, 40) AS entry_no
        """
    )
    owner = await asyncpg.connect(database.owner_url)
    await owner.execute("ANALYZE ledger_entry")
    await owner.close()
    plan = await conn.fetch(f"EXPLAIN {ENTRIES_OF_PURCHASE}", 7, "p9", 1_000)
    told = "\n".join(row[0] for row in plan)
    assert "Seq Scan" not in told, told
    assert "Index Cond: (account_no = " in told, told
