"""What uses of a voucher cost its owner (rules 3.10): by purchase events, in any order, on a real database."""

import itertools
import json
import math
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import asyncpg
import pytest
from eventing.envelope import new_message
from eventing.outbox import unpack
from eventing.records import Message
from loyalty.audit.state import states
from loyalty.audit.verify import verify
from loyalty.errors import PurchaseHasVoucher, VoucherAlreadyRedeemed
from loyalty.rewards.service import spend
from loyalty.subscriptions import PURCHASES
from loyalty.vouchers.codes import parse_keys
from loyalty.vouchers.codes import voucher_id as voucher_id_of
from loyalty.vouchers.service import Issued, Vouchers
from loyalty.vouchers.store import read_vouchers
from programme.facts import PURCHASE_COMPLETED, PURCHASE_RETURNED
from programme.instants import parse_instant
from programme.terms import Programme

Post = Callable[..., Awaitable[None]]
ISSUED = parse_instant("2026-03-02T12:00:00Z")
CANCELLED = parse_instant("2026-03-03T12:00:00Z")
NOW = parse_instant("2026-11-22T12:00:00Z")


def bought(purchase_id: str, *vouchers: str, member_id: str = "M1", cents: int = 1000, at: str = "05") -> Message:
    line = {"line": 1, "product_class": "goods", "quantity": 1, "amount_cents": cents}
    data = {"purchase_id": purchase_id, "member_id": member_id, "currency": "EUR", "lines": [line]}
    data |= {"occurred_at": f"2026-03-{at}T12:00:00Z", "vouchers": list(vouchers)}
    encoded = json.dumps(data).encode()
    return new_message(PURCHASES, type=PURCHASE_COMPLETED, source="urn:test", key=member_id, data=encoded)


def returned(purchase_id: str, member_id: str = "M1", *, complete: bool = True, at: str = "06") -> Message:
    line = {"line": 1, "product_class": "goods", "quantity": 1, "amount_cents": 1000}
    data: dict[str, Any] = {"return_id": f"r-{purchase_id}", "purchase_id": purchase_id, "member_id": member_id}
    data |= {"occurred_at": f"2026-03-{at}T12:00:00Z", "lines": [] if complete else [line], "complete": complete}
    encoded = json.dumps(data).encode()
    return new_message(PURCHASES, type=PURCHASE_RETURNED, source="urn:test", key=member_id, data=encoded)


@pytest.fixture
def desk(programme: Programme) -> Vouchers:
    """The voucher desk."""
    return Vouchers(programme, parse_keys("1:" + "42" * 32))


Issue = Callable[[str], Awaitable[str]]


@pytest.fixture
def issue(post: Post, conn: asyncpg.Connection, programme: Programme, desk: Vouchers) -> Issue:
    """`await issue(member_id)`: the member earns 2,000 points and has a voucher for 500 of them; its id."""

    async def issue_to(member_id: str) -> str:
        await post(bought("p0", member_id=member_id, cents=200_000, at="01"))
        async with conn.transaction():
            issued = await spend(conn, programme, desk, member_id, "voucher-5", ISSUED)
        assert isinstance(issued, Issued)
        return issued.voucher.voucher_id

    return issue_to


async def spent(conn: asyncpg.Connection, programme: Programme) -> dict[str, int]:
    """What members have spent by the rules; the ledger agrees with it, or `verify` says so."""
    report = await verify(conn, programme)
    assert report.is_clean, "\n".join(report.lines())
    return {state.member_id: state.spent async for state in states(conn, programme, None, None, NOW)}


async def voucher_entries(conn: asyncpg.Connection) -> list[tuple[int, str | None]]:
    rows = await conn.fetch("SELECT points, purchase_id FROM ledger_entry WHERE kind = 'voucher' ORDER BY entry_no")
    return [tuple(row) for row in rows]


HISTORIES: dict[str, tuple[Callable[[str, str], Sequence[Message]], int]] = {
    "named once": (lambda v, m: [bought("p1", v, member_id=m)], 500),
    "named twice": (lambda v, m: [bought("p1", v, member_id=m), bought("p2", v, member_id=m, at="07")], 1000),
    "named by others": (lambda v, m: [bought("p1", v, member_id=m + "b"), bought("p2", v, member_id=m + "c")], 1000),
    "one purchase_id under two members": (
        lambda v, m: [bought("p1", v, member_id=m + "b"), bought("p1", v, member_id=m)],
        500,
    ),
    "... one of them returned": (
        lambda v, m: [
            bought("p1", v, member_id=m + "b"),
            bought("p1", v, member_id=m),
            returned("p1", member_id=m),
            bought("p2", v, member_id=m),
        ],
        1000,
    ),
    "... both of them returned": (
        lambda v, m: [
            bought("p1", v, member_id=m + "b"),
            bought("p1", v, member_id=m),
            returned("p1", member_id=m),
            returned("p1", member_id=m + "b"),
            bought("p2", v, member_id=m),
        ],
        500,
    ),
    "the second use returned completely": (
        lambda v, m: [bought("p1", v, member_id=m), bought("p2", v, member_id=m + "b"), returned("p2", m + "b")],
        500,
    ),
    "a partial return of everything is no complete one": (
        lambda v, m: [bought("p1", v, member_id=m), bought("p2", v, member_id=m), returned("p2", m, complete=False)],
        1000,
    ),
    "a basket paid wholly by the voucher": (
        lambda v, m: [bought("p1", v, member_id=m, cents=0), bought("p2", v, member_id=m)],
        1000,
    ),
}


@pytest.mark.parametrize(("history", "expected"), HISTORIES.values(), ids=HISTORIES.keys())
async def test_uses_cost_the_same_in_any_order(
    history: Callable[[str, str], Sequence[Message]],
    expected: int,
    post: Post,
    conn: asyncpg.Connection,
    programme: Programme,
    issue: Issue,
) -> None:
    orders = range(math.factorial(len(history("", ""))))
    chosen = random.Random(expected).sample(orders, min(6, len(orders)))
    for order in chosen:
        events = history(await issue(f"M{order}"), f"M{order}")
        events = next(itertools.islice(itertools.permutations(events), order, None))
        if order % 2:
            await post(*events)
        else:
            for event in events:
                await post(event)
    found = await spent(conn, programme)
    assert {order: found[f"M{order}"] for order in chosen} == dict.fromkeys(chosen, expected)


async def test_a_second_use_is_itemised_and_told(post: Post, conn: asyncpg.Connection, issue: Issue) -> None:
    voucher_id = await issue("M1")
    await post(bought("p1", voucher_id), bought("p2", voucher_id, member_id="M2"))
    await post(returned("p2", "M2"))
    assert await voucher_entries(conn) == [(-500, "p2"), (500, "p2")]
    rows = await conn.fetch("SELECT messages FROM outbox ORDER BY outbox_id")
    told = [
        json.loads(message.value or b"")["purchase_id"]
        for row in rows
        for message in unpack(row["messages"])
        if dict(message.headers)["ce_type"] == b"kundenclub.voucher.redeemed.v1"
    ]
    assert told == ["p1", "p2"]


async def test_a_cancelled_voucher_gives_its_points_back_and_a_use_of_it_takes_them_again(
    post: Post, conn: asyncpg.Connection, programme: Programme, desk: Vouchers, issue: Issue
) -> None:
    voucher_id = await issue("M1")
    async with conn.transaction():
        await desk.cancel(conn, voucher_id, CANCELLED)
        await desk.cancel(conn, voucher_id, CANCELLED + 1)
    assert await spent(conn, programme) == {"M1": 0}
    await post(bought("p1", voucher_id))
    assert await spent(conn, programme) == {"M1": 500}
    assert await voucher_entries(conn) == [(500, None), (-500, "p1")]


async def test_a_used_voucher_is_not_cancelled_and_not_redeemed_again(
    post: Post, conn: asyncpg.Connection, desk: Vouchers, issue: Issue
) -> None:
    voucher_id = await issue("M1")
    await post(bought("p1", voucher_id))
    [voucher] = (await read_vouchers(conn, [voucher_id])).values()
    for refused in (
        desk.cancel(conn, voucher_id, CANCELLED),
        desk.redeem(conn, desk.code_of(voucher), "p2", {"food": 2000}, CANCELLED),
    ):
        with pytest.raises(VoucherAlreadyRedeemed):
            async with conn.transaction():
                await refused


async def test_a_voucher_whose_only_use_was_returned_can_be_used_again_for_30_days(
    post: Post, conn: asyncpg.Connection, programme: Programme, desk: Vouchers, issue: Issue
) -> None:
    voucher_id = await issue("M1")
    await post(bought("p1", voucher_id), returned("p1"))
    [voucher] = (await read_vouchers(conn, [voucher_id])).values()
    assert voucher.state_at(CANCELLED, programme) == "open"
    assert voucher.usable_until_us(programme) == voucher.valid_until_us == parse_instant("2029-12-31T23:00:00Z")
    late = replace(voucher, valid_until_us=ISSUED)
    assert late.usable_until_us(programme) == parse_instant("2026-04-05T22:00:00Z")
    async with conn.transaction():
        again = await desk.redeem(conn, desk.code_of(voucher), "p1", {"food": 2000}, CANCELLED)
        assert again.redeemed_us == parse_instant("2026-03-05T12:00:00Z")
        await desk.redeem(conn, desk.code_of(voucher), "p2", {"food": 2000}, CANCELLED)
    assert await spent(conn, programme) == {"M1": 500}


async def test_a_purchase_that_names_a_voucher_redeems_no_other(
    post: Post, conn: asyncpg.Connection, desk: Vouchers, issue: Issue
) -> None:
    await post(bought("p1", "0" * 32))
    [voucher] = (await read_vouchers(conn, [await issue("M1")])).values()
    with pytest.raises(PurchaseHasVoucher):
        await desk.redeem(conn, desk.code_of(voucher), "p1", {"food": 2000}, CANCELLED)


async def test_one_voucher_on_many_receipts_is_charged_for_each(
    post: Post, conn: asyncpg.Connection, programme: Programme, issue: Issue
) -> None:
    """A till that is stuck on one voucher: each of its uses costs as much time as the first."""
    voucher_id = await issue("M1")
    names = [f"p{n}" for n in range(1, 401)]
    await post(*[bought(name, voucher_id) for name in names])
    assert await spent(conn, programme) == {"M1": 400 * 500}
    await post(*[returned(name) for name in names])
    assert await spent(conn, programme) == {"M1": 500}


async def test_uses_that_overlap_a_new_year_are_charged_in_their_years(
    post: Post, conn: asyncpg.Connection, programme: Programme, desk: Vouchers, issue: Issue
) -> None:
    """Of a till whose clock runs a little ahead: returned in the new year, redeemed again in the old one."""
    voucher_id = await issue("M1")
    [voucher] = (await read_vouchers(conn, [voucher_id])).values()
    await post(bought("p1", voucher_id))
    received_us = parse_instant("2026-12-31T22:57:00Z")
    line: dict[str, Any] = {"return_id": "r1", "purchase_id": "p1", "member_id": "M1", "lines": [], "complete": True}
    encoded = json.dumps(line | {"occurred_at": "2026-12-31T23:02:00Z"}).encode()
    back = new_message(PURCHASES, type=PURCHASE_RETURNED, source="urn:test", key="M1", data=encoded)
    await post(back, received_us=received_us)
    async with conn.transaction():
        await desk.redeem(conn, desk.code_of(voucher), "p2", {"food": 2000}, received_us)
    assert await spent(conn, programme) == {"M1": 500}
    assert json.loads(await conn.fetchval("SELECT points_by_year FROM account")) == {
        "2026": [2000, 1000],
        "2027": [0, -500],
    }


async def test_a_voucher_named_before_it_is_issued_is_charged_for_it(
    post: Post, conn: asyncpg.Connection, programme: Programme, desk: Vouchers, issue: Issue
) -> None:
    """As after a backup was restored: numbers, and codes with them, are drawn a second time."""
    future = voucher_id_of(parse_keys("1:" + "42" * 32).code(1, 1))
    await post(bought("p1", future), bought("p2", future))
    assert await issue("M1") == future
    assert await spent(conn, programme) == {"M1": 1000}


async def test_a_voucher_nobody_issued_costs_nothing_and_is_reported(
    post: Post, conn: asyncpg.Connection, programme: Programme
) -> None:
    await post(bought("p1", "0" * 32))
    assert await spent(conn, programme) == {"M1": 0}
    assert "purchases that name a voucher nobody issued" in (await verify(conn, programme)).anomalies


async def test_two_clocks_know_uses_by_both(
    post: Post, conn: asyncpg.Connection, programme: Programme, issue: Issue
) -> None:
    """`post` stamps every record 2099-12-31: what events tell is not known before."""
    voucher_id = await issue("M1")
    await post(bought("p1", voucher_id), bought("p2", voucher_id, at="07"))
    received = parse_instant("2099-12-31T00:00:00Z")

    async def then(at: str, known_us: int | None) -> int:
        found = [state async for state in states(conn, programme, parse_instant(at), known_us, NOW)]
        return found[0].spent

    assert await then("2026-03-06T00:00:00Z", None) == 500
    assert await then("2026-03-08T00:00:00Z", None) == 1000
    assert await then("2026-03-08T00:00:00Z", received) == 1000
    assert await then("2026-03-08T00:00:00Z", received - 1) == 500
