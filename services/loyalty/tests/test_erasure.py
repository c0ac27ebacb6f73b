"""A member is erased: at any moment, whatever comes about them afterwards (rules 3.14)."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest
from devstack import ServiceDatabase
from eventing import forgotten, metrics
from eventing.envelope import new_message
from eventing.failures import WorkerStopped
from eventing.forgotten import Secret
from eventing.outbox import unpack
from eventing.records import Message
from eventing.testing import wait_until
from httpx import AsyncClient
from loyalty.audit.state import states
from loyalty.audit.verify import verify
from loyalty.subscriptions import CUSTOMER_STATUS, PURCHASES
from programme.facts import PURCHASE_COMPLETED, PURCHASE_RETURNED
from programme.terms import Programme
from programme.timeline import CUSTOMER_STATUS_CHANGED

Post = Callable[..., Awaitable[None]]
SECRET = Secret.parse("ee" * 32)


def message(topic: str, type: str, data: dict[str, Any]) -> Message:
    return new_message(topic, type=type, source="urn:test", key=data["member_id"], data=json.dumps(data).encode())


def bought(member_id: str, purchase_id: str, euros: int, *vouchers: str, at: str = "2026-11-01T12:00:00Z") -> Message:
    line = {"line": 1, "product_class": "goods", "quantity": 1, "amount_cents": euros * 100}
    data = {"purchase_id": purchase_id, "member_id": member_id, "occurred_at": at, "currency": "EUR", "lines": [line]}
    return message(PURCHASES, PURCHASE_COMPLETED, data | {"vouchers": list(vouchers)})


def returned(member_id: str, return_id: str, of: str) -> Message:
    data = {"return_id": return_id, "purchase_id": of, "member_id": member_id, "occurred_at": "2026-11-02T12:00:00Z"}
    return message(PURCHASES, PURCHASE_RETURNED, data | {"lines": [], "complete": True})


def timeline(member_id: str) -> Message:
    steps = [{"after": None, "level": "basis"}, {"after": "2026-10-01T00:00:00Z", "level": "gold"}]
    data = {"member_id": member_id, "generation": 1, "events": 1, "timeline": steps}
    return message(CUSTOMER_STATUS, CUSTOMER_STATUS_CHANGED, data)


def ignored(topic: str = PURCHASES) -> float:
    return float(metrics.EVENTS.labels(topic, "erased_member")._value.get())


async def erase(api: AsyncClient, member_id: str = "M1") -> int:
    return (await api.delete(f"/v1/members/{member_id}")).status_code


async def check(conn: asyncpg.Connection, programme: Programme) -> None:
    report = await verify(conn, programme)
    assert report.is_clean, "\n".join(report.lines())


async def everything(database: ServiceDatabase) -> str:
    """All tables as text, but the outbox, whose messages leave within seconds."""
    owner = await asyncpg.connect(database.owner_url)
    tables = await owner.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'outbox'")
    rows = [row for [table] in tables for row in await owner.fetch(f'SELECT * FROM "{table}"')]
    await owner.close()
    return "\n".join(" ".join(v.decode("latin-1") if isinstance(v, bytes) else str(v) for v in row) for row in rows)


async def test_no_table_names_an_erased_member_and_the_books_add_up(
    api: AsyncClient, post: Post, conn: asyncpg.Connection, programme: Programme, database: ServiceDatabase
) -> None:
    await api.put("/v1/members/Erika-4711")
    await api.put("/v1/members/M2")
    await post(bought("Erika-4711", "p1", 700), bought("M2", "p2", 30), bought("Erika-4711", "p1", 800))
    odd = {"member_id": "Erika-4711", "purchase_id": "p9"}
    await post(
        new_message(PURCHASES, type=PURCHASE_COMPLETED, source="urn:t", key="other", data=json.dumps(odd).encode())
    )
    named_elsewhere = {"member_id": "M2", "purchase_id": "Erika-4711"}
    await post(message(PURCHASES, PURCHASE_COMPLETED, named_elsewhere))
    headers = {"Idempotency-Key": "k1"}
    reward = await api.post("/v1/members/Erika-4711/rewards", json={"reward": "voucher-5"}, headers=headers)
    assert reward.status_code == 201
    body = {"reason": "goodwill", "text": "Spoke with Erika-4711"}
    await api.post("/v1/members/Erika-4711/adjustments", json=body | {"points": 5}, headers={"Idempotency-Key": "k2"})
    await api.post(
        "/v1/members/Erika-4711/adjustments", json=body | {"points": 5000}, headers={"Idempotency-Key": "k3"}
    )
    await conn.execute("DELETE FROM outbox")

    assert await erase(api, "Erika-4711") == 204
    left = await everything(database)
    assert left.count("Erika-4711") == 1, "only what another member's event says"
    assert await conn.fetchval("SELECT count(*) FROM dead_letter") == 1
    assert await conn.fetchval("SELECT count(*) FROM idempotency_key") == 0
    assert [row["state"] for row in await conn.fetch("SELECT state FROM adjustment ORDER BY 1")] == [
        "posted",
        "rejected",
    ]
    assert await conn.fetchval("SELECT sum(balance_points) FROM account") == 235
    assert [state.member_id async for state in states(conn, programme, None, None, 1_800_000_000_000_000)] == ["M2"]
    await check(conn, programme)
    [packed] = await conn.fetch("SELECT messages FROM outbox")
    [told] = unpack(packed["messages"])
    assert (told.topic, told.key) == ("kundenclub.members", b"Erika-4711")
    assert dict(told.headers)["ce_type"] == b"kundenclub.member.erased.v1"


async def test_erasing_again_is_204_and_somebody_unknown_404(api: AsyncClient) -> None:
    await api.put("/v1/members/M1")
    assert [await erase(api), await erase(api), await erase(api, "M2")] == [204, 204, 404]
    assert (await api.get("/v1/members/M1")).status_code == 404
    again = await api.put("/v1/members/M1")
    assert (again.status_code, again.json()["code"]) == (410, "member_erased")


async def test_erased_members_till_sends_another_purchase(
    api: AsyncClient, post: Post, conn: asyncpg.Connection, programme: Programme
) -> None:
    await api.put("/v1/members/M1")
    await post(bought("M1", "p1", 100))
    await erase(api)
    before, timelines = ignored(), ignored(CUSTOMER_STATUS)
    await post(bought("M1", "p2", 100), bought("M2", "p3", 40), returned("M1", "r1", "p1"), bought("M1", "p1", 100))
    await post(timeline("M1"), timeline("M2"))
    assert (ignored() - before, ignored(CUSTOMER_STATUS) - timelines) == (3, 1)
    accounts = await conn.fetch("SELECT member_id, balance_points FROM account ORDER BY account_no")
    assert [tuple(row) for row in accounts] == [(None, 100), ("M2", 48)]
    assert await conn.fetchval("SELECT count(*) FROM dead_letter") == 0
    await check(conn, programme)


@pytest.mark.parametrize("known", [True, False])
async def test_a_member_is_erased_while_a_batch_with_their_purchase_waits_for_the_lock(
    known: bool, post: Post, conn: asyncpg.Connection, programme: Programme, database: ServiceDatabase
) -> None:
    """The erasure holds the account's row, made just now or before, when the batch asks for it."""
    if known:
        await post(bought("M1", "p1", 100))
    before = ignored()
    other = await asyncpg.connect(database.app_url)
    async with other.transaction():
        if not known:
            await other.execute("INSERT INTO account (member_id) VALUES ('M1')")
        await other.execute("SELECT FROM account WHERE member_id = 'M1' FOR UPDATE")
        waiting = asyncio.ensure_future(post(bought("M1", "p2", 100), bought("M2", "p3", 40)))

        async def it_waits() -> bool:
            return bool(await conn.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"))

        await wait_until(it_waits)
        await forgotten.forget(other, SECRET, ["M1"])
        await other.execute("UPDATE account SET member_id = NULL")
    await waiting
    await other.close()
    assert ignored() - before == 1
    named = await conn.fetch("SELECT member_id FROM account WHERE member_id IS NOT NULL")
    assert [row["member_id"] for row in named] == ["M2"]
    await check(conn, programme)


async def test_a_member_is_erased_while_their_voucher_is_redeemed(
    api: AsyncClient, post: Post, conn: asyncpg.Connection, programme: Programme
) -> None:
    """Whoever comes first: redeemed and then erased, or erased and then unknown."""
    codes = {}
    for n in range(8):
        await post(bought(f"M{n}", f"p{n}", 600))
        headers = {"Idempotency-Key": f"k{n}"}
        answer = await api.post(f"/v1/members/M{n}/rewards", json={"reward": "voucher-5"}, headers=headers)
        codes[n] = answer.json()

    async def redeem(n: int) -> int:
        body = {"code": codes[n]["code"], "purchase_id": f"shop-{n}", "cents_by_class": {"food": 2000}}
        return (await api.post("/v1/vouchers/redeem", json=body)).status_code

    both = [call for n in range(8) for call in (redeem(n), erase(api, f"M{n}"))]
    answers = await asyncio.gather(*both)
    assert set(answers[1::2]) == {204}
    assert set(answers[::2]) <= {200, 404}
    assert answers[::2].count(200) == await conn.fetchval("SELECT count(*) FROM voucher_redemption")
    await post(bought("M9", "p9", 10, codes[0]["voucher_id"]))
    assert await conn.fetchval("SELECT count(*) FROM account WHERE member_id IS NOT NULL") == 1
    await check(conn, programme)


async def test_another_erasure_key_is_refused_at_the_start(conn: asyncpg.Connection) -> None:
    await forgotten.adopt(conn, SECRET)
    await forgotten.adopt(conn, SECRET)
    with pytest.raises(WorkerStopped, match="erasure key"):
        await forgotten.adopt(conn, Secret.parse("ef" * 32))


@pytest.mark.parametrize("text", ["", "ee", "xy" * 32, "1:" + "ee" * 32])
def test_a_malformed_erasure_key_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(ValueError, match=r"^must be 64 hexadecimal digits$"):
        Secret.parse(text)
