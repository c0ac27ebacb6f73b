"""Rows written before a migration are given what rows written after it have."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import asyncpg
import msgspec
from alembic import command
from customer_status.audit.store import histories_from
from customer_status.migrate import SCRIPTS, upgrade
from customer_status.tiers.domain import PurchaseRow, ReturnRow, known_return, new_purchase_row, new_return_row
from customer_status.tiers.purchase_days import LATELY_DAYS, Bought, days_of
from customer_status.tiers.store import insert_purchases, insert_returns, read_purchases, read_returns
from devstack import ServiceDatabase
from eventing.migrations import alembic_config
from programme.calendar import midnight_us
from programme.facts import Purchase, Return
from programme.instants import parse_instant, to_datetime
from programme.terms import Programme

BEFORE_DATES, BEFORE_DAYS = "20261122_terms", "20261122_contacts"


def migrated_to(revision: str) -> Callable[[ServiceDatabase], None]:
    def migrate(database: ServiceDatabase) -> None:
        command.upgrade(alembic_config(SCRIPTS, database.owner_url, database.app_url), revision)

    return migrate


async def test_dates_and_totals_of_old_rows(
    service_database: Callable[..., ServiceDatabase], programme: Programme
) -> None:
    database = service_database("customer-status", prepare=migrated_to(BEFORE_DATES))
    rng = random.Random(4)
    first = parse_instant("2000-01-01T00:00:00Z")
    bought, back = [], []
    for number in range(300):
        us = midnight_us(11_000 + rng.randrange(36_000)) + rng.choice((-1, 0, 1, rng.randrange(10**11)))
        cents = {"goods": rng.randrange(-500, 999_999), "deposit": 25, "lottery": rng.randrange(10**8)}
        bought.append(
            new_purchase_row(programme, 1, Purchase("", f"p{number}", us, cents if number else {}, ()), first)
        )
        for part in range(rng.choice((0, 0, 1, 2))):
            ret = Return("", f"r{number}-{part}", f"p{number}", us + 10**10, {"goods": 99, "deposit": 25}, False)
            back.append(new_return_row(1, ret, first))
            bought[-1].take_back(known_return(programme, bought[-1], ret), back[-1].total_cents)
    conn = await asyncpg.connect(database.owner_url)
    try:
        await _insert_old(conn, bought, back)
        await asyncio.to_thread(upgrade, database.owner_url, database.app_url)
        assert _by_id(await read_purchases(conn, {1: None})) == {row.fact.purchase_id: asdict(row) for row in bought}
        returns = (await read_returns(conn, {1: None}))[1]
        assert {row.fact.return_id: row for row in returns} == {row.fact.return_id: row for row in back}
    finally:
        await conn.close()


async def test_purchase_days_of_old_members(
    service_database: Callable[..., ServiceDatabase], programme: Programme
) -> None:
    database = service_database("customer-status", prepare=migrated_to(BEFORE_DAYS))
    rng = random.Random(5)
    conn = await asyncpg.connect(database.owner_url)
    try:
        due: dict[int, tuple[list[Bought], list[int]]] = {}
        for account_no in range(1, 80):
            await conn.execute("INSERT INTO member (member_id) VALUES ($1)", f"m{account_no}")
            first = 20_000 + rng.randrange(400)
            bought = [_purchase(rng, account_no, number, first) for number in range(rng.choice((0, 1, 5, 20)))]
            names = [row.fact.purchase_id for row in bought]
            back = [_return(rng, account_no, name, first) for name in [*rng.sample(names, len(names) // 3), "nothing"]]
            for ret in back[: rng.randrange(len(back) + 1)]:
                row = next((row for row in bought if row.fact.purchase_id == ret.fact.purchase_id), None)
                if row is not None:
                    row.take_back(known_return(programme, row, ret.fact), ret.total_cents)
                await insert_returns(conn, [ret])
                returned = due.setdefault(account_no, ([], []))[1]
                returned.append(ret.day)
            await insert_purchases(conn, bought)
            if bought:
                kept = [Bought(row.day, row.remaining_total_cents) for row in bought]
                due.setdefault(account_no, ([], []))[0].extend(kept)
        await asyncio.to_thread(upgrade, database.owner_url, database.app_url)
        for history in await histories_from(conn, 1, 100):
            days = days_of(*due.get(history.account_no, ([], [])))
            assert (history.purchase_days, history.purchase_months) == (days, days.months())
    finally:
        await conn.close()


def _purchase(rng: random.Random, account_no: int, number: int, first: int) -> PurchaseRow:
    day = first + rng.choice((0, 1, rng.randrange(40), LATELY_DAYS - 1, LATELY_DAYS, LATELY_DAYS + 1))
    cents = rng.choice((0, 1, 500, 90_000))
    fact = Purchase("", f"p{number}", midnight_us(day), {"goods": cents}, ())
    return PurchaseRow(account_no, fact.occurred_us, fact, cents, cents, day)


def _return(rng: random.Random, account_no: int, purchase_id: str, first: int) -> ReturnRow:
    day, cents = first + rng.randrange(600), rng.choice((1, 500, 100_000))
    fact = Return("", f"r-{purchase_id}", purchase_id, midnight_us(day), {"goods": cents}, rng.random() < 0.3)
    return ReturnRow(account_no, fact.occurred_us, fact, cents, day)


async def _insert_old(conn: asyncpg.Connection, bought: list[Any], back: list[Any]) -> None:
    def common(row: Any) -> tuple[Any, ...]:
        cents = msgspec.json.encode(row.fact.cents_by_class).decode()
        return to_datetime(row.fact.occurred_us), to_datetime(row.received_us), cents

    await conn.executemany(
        """INSERT INTO purchase (account_no, purchase_id, occurred_at, received_at, cents_by_class, vouchers,
                                 eligible_cents, returned_cents, returned_completely)
           VALUES (1, $1, $2, $3, $4, '{}', $5, $6, $7)""",
        [
            (row.fact.purchase_id, *common(row), row.eligible_cents, row.returned_cents, row.returned_completely)
            for row in bought
        ],
    )
    await conn.executemany(
        """INSERT INTO purchase_return (account_no, return_id, purchase_id, occurred_at, received_at, cents_by_class,
                                        complete)
           VALUES (1, $1, $2, $3, $4, $5, $6)""",
        [(row.fact.return_id, row.fact.purchase_id, *common(row), row.fact.complete) for row in back],
    )


def _by_id(rows: dict[int, list[Any]]) -> dict[str, Any]:
    return {row.fact.purchase_id: asdict(row) for row in rows[1]}
