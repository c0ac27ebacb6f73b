"""The liability report: by expiry and level, and to the point what the ledger says."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest
from eventing.envelope import new_message
from eventing.records import Message
from httpx import AsyncClient
from hypothesis import given
from hypothesis import strategies as st
from loyalty.audit.state import states
from loyalty.reports.domain import Liability, Standing, Sums
from loyalty.reports.service import liability
from loyalty.reports.views import liability_view
from loyalty.subscriptions import CUSTOMER_STATUS, PURCHASES
from programme.expiry import expired_by, expiries
from programme.facts import PURCHASE_COMPLETED, PURCHASE_RETURNED
from programme.instants import parse_instant
from programme.terms import Programme
from programme.timeline import CUSTOMER_STATUS_CHANGED

Post = Callable[..., Awaitable[None]]
MIDSUMMER, CHRISTMAS = parse_instant("2026-06-21T12:00:00Z"), parse_instant("2026-12-24T12:00:00Z")

years = st.dictionaries(st.integers(2000, 2040), st.integers(0, 5_000), max_size=6)


def message(topic: str, type: str, member_id: str, data: dict[str, Any]) -> Message:
    content = json.dumps({"member_id": member_id} | data).encode()
    return new_message(topic, type=type, source="urn:test", key=member_id, data=content)


def bought(member_id: str, purchase_id: str, euros: int, at: str) -> Message:
    line = {"line": 1, "product_class": "goods", "quantity": 1, "amount_cents": euros * 100}
    data = {"purchase_id": purchase_id, "occurred_at": at, "currency": "EUR", "lines": [line]}
    return message(PURCHASES, PURCHASE_COMPLETED, member_id, data)


@pytest.fixture
async def club(api: AsyncClient, post: Post) -> None:
    """M1 basis with points of three years, the oldest expired; M2 gold; M3 below zero; M4 erased."""
    await post(
        bought("M1", "a1", 400, "2021-05-01T12:00:00Z"),
        bought("M1", "a2", 300, "2025-05-01T12:00:00Z"),
        bought("M1", "a3", 200, "2026-11-01T12:00:00Z"),
        bought("M2", "b1", 1_000, "2026-05-01T12:00:00Z"),
        bought("M3", "c1", 600, "2026-05-01T12:00:00Z"),
        bought("M4", "d1", 50, "2026-05-01T12:00:00Z"),
    )
    steps = [{"after": None, "level": "basis"}, {"after": "2026-01-01T00:00:00Z", "level": "gold"}]
    timeline = {"generation": 1, "events": 1, "timeline": steps}
    await post(message(CUSTOMER_STATUS, CUSTOMER_STATUS_CHANGED, "M2", timeline))
    headers = {"Idempotency-Key": "k1"}
    issued = await api.post("/v1/members/M3/rewards", json={"reward": "voucher-5"}, headers=headers)
    assert issued.status_code == 201
    back = {
        "return_id": "r1",
        "purchase_id": "c1",
        "occurred_at": "2026-05-02T12:00:00Z",
        "complete": True,
        "lines": [],
    }
    await post(message(PURCHASES, PURCHASE_RETURNED, "M3", back))
    given_points = {"points": 25, "reason": "goodwill", "text": "late"}
    answer = await api.post("/v1/members/M2/adjustments", json=given_points, headers={"Idempotency-Key": "k2"})
    assert answer.status_code == 201
    assert (await api.delete("/v1/members/M4")).status_code == 204


@pytest.mark.usefixtures("club")
async def test_it_adds_up_by_expiry_and_level_and_is_the_ledger(api: AsyncClient) -> None:
    answer = await api.get("/v1/reports/liability")
    report = answer.json()
    assert answer.status_code == 200, report
    assert {each["expires_at"][:4]: each["points"] for each in report["by_expiry"]} == {"2028": 300, "2029": 1475}
    assert {each["level"]: each["points"] for each in report["by_level"]} == {"basis": 550, "silver": 0, "gold": 1225}
    assert (report["points"], report["value_cents"]) == (1775, 1775)
    assert report["negative"] == {"accounts": 1, "points": -500}
    assert report["nameless"] == {"accounts": 1, "points": 50}
    assert [(each["count"], each["value_cents"]) for each in report["open_vouchers"]] == [(1, 500)]
    assert report["ledger"] == {
        "entry_points": 1275,
        "later_points": 0,
        "unposted_expiry_points": 0,
        "balance_points": 1275,
        "differing_accounts": 0,
        "difference_points": 0,
        "is_reconciled": True,
    }


@pytest.mark.usefixtures("club")
async def test_as_of_then_it_is_what_state_was_then(conn: asyncpg.Connection, programme: Programme) -> None:
    for at_us in (MIDSUMMER, CHRISTMAS, parse_instant("2030-06-01T00:00:00Z")):
        found = await liability(conn, programme, at_us, CHRISTMAS)
        balances = [state.balance async for state in states(conn, programme, at_us, None, CHRISTMAS)]
        nameless = found.nameless_points
        assert sum(balance for balance in balances if balance > 0) + nameless == found.points
        assert sum(balance for balance in balances if balance < 0) == found.negative_points
        assert found.is_reconciled, liability_view(found)
    early = await liability(conn, programme, MIDSUMMER, CHRISTMAS)
    assert early.later_points == 200 - 500 + 25, "bought, spent and given after midsummer"


@pytest.mark.usefixtures("club")
@pytest.mark.parametrize("account_no", ["(SELECT min(account_no) FROM account)", "0", "999"])
async def test_a_difference_is_shown_and_not_hidden(
    account_no: str, api: AsyncClient, conn: asyncpg.Connection
) -> None:
    """An entry too many, of an account that there is or is not."""
    columns = "account_no, entry_no, kind, points, cause_id"
    await conn.execute(f"INSERT INTO ledger_entry ({columns}) SELECT {account_no}, 900, 'expiry', 7, '2026'")
    ledger = (await api.get("/v1/reports/liability")).json()["ledger"]
    assert (ledger["differing_accounts"], ledger["difference_points"], ledger["is_reconciled"]) == (1, 7, False)


async def test_an_empty_club_owes_nothing(api: AsyncClient) -> None:
    report = (await api.get("/v1/reports/liability")).json()
    assert (report["points"], report["by_expiry"], report["ledger"]["is_reconciled"]) == (0, [], True)


@given(years, years, st.integers(2000, 2045))
def test_what_expires_later_is_what_is_left(earned: dict[int, int], debited: dict[int, int], year: int) -> None:
    """Every point of a balance above zero expires at some boundary, and none of one below."""
    debited = {each: points for each, points in debited.items() if each <= year}
    balance = sum(earned.values()) - sum(debited.values()) - expired_by(earned, debited, year)
    heaps = list(expiries(earned, debited, year))
    assert sum(heap.points for heap in heaps) == max(0, balance)
    assert all(heap.year > year and heap.points > 0 for heap in heaps)
    report = Liability(0, year, None)
    report.add_account(Standing(False, "basis", Sums(earned, debited), Sums(earned, debited), balance, 0))
    assert report.points + report.negative_points == balance
