"""Reserve, release, redeem and undo over HTTP (rules 3.10), and what each is refused for."""

import json
from typing import Any

import asyncpg
from devstack import ServiceDatabase
from eventing.outbox import unpack
from httpx import AsyncClient
from loyalty.audit.state import states
from loyalty.audit.verify import verify
from programme.terms import Programme


async def told(conn: asyncpg.Connection) -> list[tuple[str, dict[str, Any]]]:
    """The events of vouchers in the outbox, in order: what happened, and its data."""
    rows = await conn.fetch("SELECT messages FROM outbox ORDER BY outbox_id")
    messages = [message for row in rows for message in unpack(row["messages"])]
    named = [((dict(m.headers)["ce_type"] or b"").decode(), json.loads(m.value or b"")) for m in messages]
    return [(name.split(".")[2], data) for name, data in named if ".voucher." in name]


async def test_a_reservation_keeps_others_out_until_it_is_released_or_its_time_is_up(
    till: Any, conn: asyncpg.Connection
) -> None:
    await till.bought("M1", "p1", 500)
    code, _ = await till.voucher("M1")
    first = (await till.ask("reserve", code, "shop-1")).json()
    assert (first["state"], first["reserved_until"]) == ("reserved", "2026-11-22T11:15:00Z")
    refused = (await till.ask("redeem", code, "shop-2")).json()
    assert (refused["code"], refused["reserved_until"]) == ("voucher_reserved", "2026-11-22T11:15:00Z")
    assert await till.tell("reserve", code, "shop-2") == "voucher_reserved"
    till.later(minutes=10)
    renewed = (await till.ask("reserve", code, "shop-1")).json()
    assert renewed["reserved_until"] == "2026-11-22T11:25:00Z"
    assert await till.tell("release", code, "shop-2") == "reserved"
    assert [await till.tell("release", code, "shop-1") for _ in range(2)] == ["open", "open"]
    assert await till.tell("reserve", code, "shop-2") == "reserved"
    till.later(minutes=14)
    assert await till.tell("check", code) == "reserved"
    till.later(minutes=1)
    assert await till.tell("check", code) == "open"
    assert [await till.tell("reserve", code, "shop-3"), await till.tell("redeem", code, "shop-3")] == [
        "reserved",
        "redeemed",
    ]
    assert await conn.fetchval("SELECT count(*) FROM voucher_reservation") == 0
    names = [name for name, _ in await told(conn)]
    assert names == ["issued", "reserved", "reserved", "released", "reserved", "reserved", "redeemed"]
    member = (await till.api.get("/v1/members/M1")).json()
    assert (member["balance_points"], member["open_vouchers"]) == (0, [])


async def test_order_fails_after_its_voucher_was_redeemed(
    till: Any, conn: asyncpg.Connection, programme: Programme
) -> None:
    await till.bought("M1", "p1", 1000)
    code, voucher_id = await till.voucher("M1")
    other, _ = await till.voucher("M1", "order-2")
    assert await till.tell("redeem", code, "shop-1") == "redeemed"
    till.later(minutes=5)
    assert [await till.tell("undo", code, "shop-1") for _ in range(2)] == ["open", "open"]
    assert await till.tell("redeem", other, "shop-1") == "redeemed", "the purchase is free for another voucher"
    assert await till.tell("undo", other, "shop-1") == "open"
    till.later(minutes=5)
    assert await till.tell("redeem", code, "shop-1") == "redeemed", "and for the same one"
    assert await till.tell("undo", code, "shop-2") == "redeemed", "of another purchase there is nothing to undo"
    await till.bought("M1", "shop-1", 20, voucher_id)
    refused = await till.ask("undo", code, "shop-1")
    assert (refused.status_code, refused.json()["code"]) == (409, "redemption_is_final")
    assert await till.balance("M1") == 20
    names = [name for name, _ in await told(conn)]
    assert names == ["issued", "issued", *["redeemed", "undone"] * 2, "redeemed"]
    report = await verify(conn, programme)
    assert report.is_clean, "\n".join(report.lines())


async def test_both_clocks_know_when_a_redemption_was_undone(
    till: Any, conn: asyncpg.Connection, programme: Programme
) -> None:
    """An offline till has used it as well: between redemption and undo its owner pays twice, and only then."""
    await till.bought("M1", "p1", 1500)
    code, voucher_id = await till.voucher("M1")
    till.later(minutes=1)
    await till.ask("redeem", code, "shop-1")
    redeemed_us = till.now_us
    await till.bought("M1", "till-1", 0, voucher_id)
    assert await till.balance("M1") == 500
    till.later(minutes=1)
    assert await till.tell("undo", code, "shop-1") == "redeemed"
    undone_us = till.now_us
    assert await till.balance("M1") == 1000
    till.later(minutes=1)

    async def spent(at_us: int | None, known_us: int | None) -> int:
        [state] = [each async for each in states(conn, programme, at_us, known_us, till.now_us)]
        return state.spent

    assert [await spent(None, us) for us in (redeemed_us - 1, redeemed_us, undone_us - 1, undone_us)] == [
        500,
        1000,
        1000,
        500,
    ]
    assert [await spent(us, None) for us in (redeemed_us, undone_us - 1, undone_us, None)] == [1000, 1000, 500, 500]
    rows = await conn.fetch("SELECT kind, points FROM ledger_entry WHERE kind = 'voucher' ORDER BY entry_no")
    assert [tuple(row) for row in rows] == [("voucher", -500), ("voucher", 500)]
    assert (await verify(conn, programme)).is_clean


async def test_what_a_checkout_is_refused_for_is_the_same_in_every_call(
    till: Any, conn: asyncpg.Connection, database: ServiceDatabase
) -> None:
    """Used, cancelled, expired, too small a basket, a second one on a purchase; in a quote it is told, not refused."""
    await till.bought("M1", "p1", 3000)
    codes = {name: await till.voucher("M1", name) for name in ("used", "cancelled", "small", "first", "second", "old")}
    await till.ask("redeem", codes["used"][0], "shop-0")
    await till.api.post(f"/v1/vouchers/{codes['cancelled'][1]}/cancel")
    await till.ask("reserve", codes["first"][0], "shop-1")

    async def refusals(name: str, basket: dict[str, int]) -> set[str]:
        code = codes[name][0]
        asked = {(await till.ask(what, code, "shop-1", basket)).json()["code"] for what in ("reserve", "redeem")}
        body = {"cents_by_class": basket, "code": code, "purchase_id": "shop-1"}
        quoted = (await till.api.post("/v1/quotes", json=body)).json()["voucher"]
        assert quoted["usable"] is False
        return asked | {quoted["refusal"]["code"]}

    basket = {"food": 2000}
    assert await refusals("used", basket) == {"voucher_already_redeemed"}
    assert await refusals("cancelled", basket) == {"voucher_cancelled"}
    assert await refusals("small", {"food": 499, "tobacco": 900}) == {"voucher_not_applicable"}
    assert await refusals("second", basket) == {"purchase_has_voucher"}
    till.now_us = 1893456000_000_000  # 2030-01-01
    assert await refusals("old", basket) == {"voucher_expired"}
    assert await till.tell("check", codes["old"][0]) == "expired"


async def test_a_reservation_ends_with_the_voucher(till: Any) -> None:
    await till.bought("M1", "p1", 500)
    code, _ = await till.voucher("M1")
    till.now_us = 1893452400_000_000 - 60_000_000  # a minute before 2030 in Berlin
    assert (await till.ask("reserve", code, "shop-1")).json()["reserved_until"] == "2029-12-31T23:00:00Z"
    till.later(minutes=1)
    assert await till.tell("redeem", code, "shop-1") == "voucher_expired"


async def test_staff_may_cancel_a_reserved_voucher(till: Any) -> None:
    await till.bought("M1", "p1", 500)
    code, voucher_id = await till.voucher("M1")
    await till.ask("reserve", code, "shop-1")
    assert (await till.api.post(f"/v1/vouchers/{voucher_id}/cancel")).json()["state"] == "cancelled"
    assert await till.tell("redeem", code, "shop-1") == "voucher_cancelled"
    assert await till.balance("M1") == 500


async def test_the_member_sees_their_vouchers_by_state_and_only_the_codes_that_work(
    till: Any, conn: asyncpg.Connection
) -> None:
    await till.bought("M1", "p1", 2000)
    await till.api.put("/v1/members/M2")
    codes = {name: await till.voucher("M1", name) for name in ("a", "b", "c", "d")}
    await till.ask("redeem", codes["a"][0], "shop-1")
    await till.ask("reserve", codes["b"][0], "shop-2")
    await till.api.post(f"/v1/vouchers/{codes['c'][1]}/cancel")

    async def seen(**params: Any) -> list[tuple[str, str | None]]:
        found, cursor = [], None
        while True:
            more: dict[str, Any] = {} if cursor is None else {"cursor": cursor}
            page = (await till.api.get("/v1/members/M1/vouchers", params=params | more)).json()
            found += [(each["state"], each["code"]) for each in page["items"]]
            cursor = page["next_cursor"]
            if cursor is None:
                return found

    everything = [("open", codes["d"][0]), ("cancelled", None), ("reserved", codes["b"][0]), ("redeemed", None)]
    assert await seen() == await seen(limit=1) == await seen(limit=3) == everything
    assert await seen(state="reserved") == await seen(state="reserved", limit=1) == everything[2:3]
    assert await seen(state="expired") == []
    assert (await till.api.get("/v1/members/M2/vouchers")).json() == {"items": [], "next_cursor": None}
    assert (await till.api.get("/v1/members/nobody/vouchers")).json()["code"] == "member_not_found"
    open_ids = [each["voucher_id"] for each in (await till.api.get("/v1/members/M1")).json()["open_vouchers"]]
    assert open_ids == [codes["d"][1], codes["b"][1]], "a reserved one is still the member's"


async def test_a_voucher_of_an_erased_owner_is_unknown(till: Any, database: ServiceDatabase) -> None:
    await till.bought("M1", "p1", 500)
    code, voucher_id = await till.voucher("M1")
    owner = await asyncpg.connect(database.owner_url)
    await owner.execute("UPDATE account SET member_id = NULL")
    await owner.close()
    answers = [await till.ask(what, code, "shop-1") for what in ("reserve", "release", "redeem", "undo")]
    answers += [await till.ask("check", code), await till.api.post(f"/v1/vouchers/{voucher_id}/cancel")]
    assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(404, "voucher_not_found")}


async def test_quotes_tell_what_a_basket_would_earn(till: Any, api: AsyncClient, conn: asyncpg.Connection) -> None:
    await till.bought("M1", "p1", 500)
    steps = [{"after": None, "level": "basis"}, {"after": "2026-12-01T00:00:00Z", "level": "gold"}]
    await conn.execute("UPDATE account SET timeline = $1", json.dumps(steps))
    code, _ = await till.voucher("M1")
    await till.ask("reserve", code, "shop-1")
    before = await conn.fetch("SELECT * FROM account"), await conn.fetchval("SELECT count(*) FROM outbox")

    async def quoted(**body: Any) -> dict[str, Any]:
        basket = {"goods": 2190, "tobacco": 700}
        answer: dict[str, Any] = (await api.post("/v1/quotes", json={"cents_by_class": basket} | body)).json()
        return answer

    plain = await quoted()
    assert (plain["level"], plain["points"], plain["voucher"]) == ("basis", {"base": 21, "bonus": 0, "total": 21}, None)
    later = await quoted(member_id="M1", occurred_at="2026-12-02T00:00:00+01:00", code=code, purchase_id="shop-1")
    assert (later["level"], later["eligible_cents"]) == ("gold", 2190)
    assert later["points"] == {"base": 21, "bonus": 5, "total": 26}
    assert (later["voucher"]["usable"], later["voucher"]["voucher"]["state"]) == (True, "reserved")
    assert (await quoted(code=code))["voucher"]["refusal"]["code"] == "voucher_reserved"
    assert (await quoted(member_id="M1"))["level"] == "basis"
    assert (await quoted(member_id="nobody"))["code"] == "member_not_found"
    assert (await quoted(code="0000-0000-0000-0000"))["code"] == "voucher_not_found"
    assert (await quoted(occurred_at="2200-01-01T00:00:00Z"))["code"] == "malformed"
    assert before == (await conn.fetch("SELECT * FROM account"), await conn.fetchval("SELECT count(*) FROM outbox"))
