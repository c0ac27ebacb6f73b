"""The HTTP API on a real database, called as a checkout does."""

import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import asyncpg
import pytest
from devstack import ServiceDatabase
from eventing.envelope import new_message
from eventing.outbox import unpack
from httpx import AsyncClient, Response
from loyalty.audit.verify import verify
from loyalty.subscriptions import PURCHASES
from programme.facts import PURCHASE_COMPLETED
from programme.terms import Programme

BASKET = {"food": 2000}


@pytest.fixture
def give_points(api: AsyncClient, post: Callable[..., Awaitable[None]]) -> Callable[[str, int], Awaitable[None]]:
    """`await give_points(member_id, points)`: the member joins, and a purchase of today earns the points."""

    async def give(member_id: str, points: int) -> None:
        await api.put(f"/v1/members/{member_id}")
        line = {"line": 1, "product_class": "goods", "quantity": 1, "amount_cents": points * 100}
        data = {"purchase_id": "p1", "member_id": member_id, "currency": "EUR", "lines": [line]}
        data["occurred_at"] = datetime.now(UTC).isoformat()
        encoded = json.dumps(data).encode()
        await post(new_message(PURCHASES, type=PURCHASE_COMPLETED, source="urn:test", key=member_id, data=encoded))

    return give


GivePoints = Callable[[str, int], Awaitable[None]]


async def spend(api: AsyncClient, member_id: str, key: str) -> Response:
    return await api.post(
        f"/v1/members/{member_id}/rewards", json={"reward": "voucher-5"}, headers={"Idempotency-Key": key}
    )


async def redeem(api: AsyncClient, code: str, purchase_id: str, basket: dict[str, int] = BASKET) -> Response:
    body = {"code": code, "purchase_id": purchase_id, "cents_by_class": basket}
    return await api.post("/v1/vouchers/redeem", json=body)


async def test_joining_is_201_once_and_200_after(api: AsyncClient, conn: asyncpg.Connection) -> None:
    first, second = await api.put("/v1/members/M1"), await api.put("/v1/members/M1")
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json() == second.json()
    [packed] = await conn.fetch("SELECT messages FROM outbox")
    assert [message.topic for message in unpack(packed["messages"])] == ["kundenclub.members"]


async def test_a_member_reads_balance_and_next_voucher(
    api: AsyncClient, give_points: GivePoints, conn: asyncpg.Connection
) -> None:
    await give_points("M1", 420)
    member = (await api.get("/v1/members/M1")).json()
    assert (member["balance_points"], member["points_to_next_voucher"]) == (420, 80)
    assert (member["level"], member["bonus_percent"]) == ("basis", 0)
    assert member["expiring_next"]["points"] == 420


async def test_etag_saves_the_body(api: AsyncClient) -> None:
    await api.put("/v1/members/M1")
    etag = (await api.get("/v1/members/M1")).headers["ETag"]
    again = await api.get("/v1/members/M1", headers={"If-None-Match": etag})
    assert (again.status_code, again.content) == (304, b"")
    for tags, status in (("*", 304), (f'"other", W/{etag}', 304), ('"other"', 200), ('"*"', 200)):
        answer = await api.get("/v1/members/M1", headers={"If-None-Match": tags})
        assert answer.status_code == status, tags
    assert (await api.get("/v1/members/nobody", headers={"If-None-Match": "*"})).status_code == 404


@pytest.mark.parametrize("path", ["/v1/members/nobody", "/v1/members/nobody/entries"])
async def test_an_unknown_member_is_a_404_problem(api: AsyncClient, path: str) -> None:
    answer = await api.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "member_not_found")


@pytest.mark.parametrize("member_id", ["a b", "x" * 41, "😀", "a'; DROP TABLE account;--"])
async def test_a_malformed_member_id_is_a_422_problem(api: AsyncClient, member_id: str) -> None:
    answer = await api.get(f"/v1/members/{member_id}")
    assert (answer.status_code, answer.json()["code"]) == (422, "malformed")


async def test_500_points_become_a_voucher(
    api: AsyncClient, give_points: GivePoints, conn: asyncpg.Connection, programme: Programme
) -> None:
    await give_points("M1", 700)
    answer = await spend(api, "M1", "order-1")
    assert answer.status_code == 201
    assert answer.json()["balance_points"] == 200
    entries = (await api.get("/v1/members/M1/entries")).json()["items"]
    assert [(entry["entry_no"], entry["kind"], entry["points"]) for entry in entries] == [
        (2, "reward", -500),
        (1, "purchase", 700),
    ]
    report = await verify(conn, programme)
    assert report.is_clean, "\n".join(report.lines())


async def test_the_same_idempotency_key_gives_the_same_voucher(
    api: AsyncClient, give_points: GivePoints, conn: asyncpg.Connection
) -> None:
    await give_points("M1", 1200)
    first, second = await spend(api, "M1", "order-1"), await spend(api, "M1", "order-1")
    assert (first.content, second.headers["Idempotency-Replayed"]) == (second.content, "true")
    assert await conn.fetchval("SELECT count(*) FROM voucher") == 1


async def test_no_table_holds_a_voucher_code(
    api: AsyncClient, give_points: GivePoints, conn: asyncpg.Connection
) -> None:
    await give_points("M1", 500)
    code = (await spend(api, "M1", "order-1")).json()["code"]
    tables = await conn.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    for [table] in tables:
        if table == "alembic_version":
            continue
        for row in await conn.fetch(f'SELECT * FROM "{table}"'):
            text = "".join(value.decode("latin-1") if isinstance(value, bytes) else str(value) for value in row)
            assert code not in text, table
            assert code.replace("-", "") not in text, table


async def test_a_voucher_is_checked_and_redeemed_once(
    api: AsyncClient, give_points: GivePoints, conn: asyncpg.Connection
) -> None:
    await give_points("M1", 500)
    code = (await spend(api, "M1", "order-1")).json()["code"]
    assert (await api.post("/v1/vouchers/check", json={"code": code.lower()})).json()["state"] == "open"
    first = await redeem(api, code, "shop-1")
    again = await redeem(api, code, "shop-1")
    other = await redeem(api, code, "shop-2")
    assert (first.status_code, first.json()["state"]) == (200, "redeemed")
    assert again.json() == first.json()
    assert (other.status_code, other.json()["code"]) == (409, "voucher_already_redeemed")
    assert other.json()["redeemed_at"] == first.json()["redeemed_at"]
    assert (await api.get("/v1/members/M1")).json()["open_vouchers"] == []


async def test_one_purchase_redeems_one_voucher(
    api: AsyncClient, give_points: GivePoints, conn: asyncpg.Connection
) -> None:
    await give_points("M1", 1000)
    codes = [(await spend(api, "M1", f"order-{n}")).json()["code"] for n in range(2)]
    answers = [await redeem(api, code, "shop-1") for code in codes]
    assert [answer.status_code for answer in answers] == [200, 409]
    assert answers[1].json()["code"] == "purchase_has_voucher"


async def test_a_voucher_pays_not_for_tobacco(
    api: AsyncClient, give_points: GivePoints, conn: asyncpg.Connection
) -> None:
    await give_points("M1", 500)
    code = (await spend(api, "M1", "order-1")).json()["code"]
    answer = await redeem(api, code, "shop-1", {"tobacco": 900, "food": 499})
    assert (answer.status_code, answer.json()["code"]) == (409, "voucher_not_applicable")
    assert answer.json()["payable_cents"] == 499


async def test_an_expired_voucher_is_refused(
    api: AsyncClient, give_points: GivePoints, conn: asyncpg.Connection, database: ServiceDatabase
) -> None:
    await give_points("M1", 500)
    code = (await spend(api, "M1", "order-1")).json()["code"]
    owner = await asyncpg.connect(database.owner_url)
    await owner.execute("UPDATE voucher SET valid_until = now()")
    await owner.close()
    answer = await redeem(api, code, "shop-1")
    assert (answer.status_code, answer.json()["code"]) == (409, "voucher_expired")


@pytest.mark.parametrize("code", ["0000-0000-0000-0000", "nonsense", "0" * 16, "\x00"])
async def test_unknown_and_malformed_codes_answer_alike(api: AsyncClient, code: str) -> None:
    check = await api.post("/v1/vouchers/check", json={"code": code})
    redeemed = await redeem(api, code, "shop-1")
    assert check.status_code == redeemed.status_code == 404
    assert {k: v for k, v in check.json().items() if k != "request_id"} == {
        k: v for k, v in redeemed.json().items() if k != "request_id"
    }
