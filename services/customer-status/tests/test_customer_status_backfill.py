"""Rows written before a migration are given what rows written after it have."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import asyncpg
import msgspec
from alembic import command
from customer_status.migrate import SCRIPTS, upgrade
from customer_status.tiers.domain import known_return, new_purchase_row, new_return_row
from customer_status.tiers.store import read_purchases, read_returns
from devstack import ServiceDatabase
from eventing.migrations import alembic_config
from programme.calendar import midnight_us
from programme.facts import Purchase, Return
from programme.instants import parse_instant, to_datetime
from programme.terms import Programme

BEFORE = "20261122_terms"


def to_before(database: ServiceDatabase) -> None:
    command.upgrade(alembic_config(SCRIPTS, database.owner_url, database.app_url), BEFORE)


async def test_dates_and_totals_of_old_rows(
    service_database: Callable[..., ServiceDatabase], programme: Programme
) -> None:
    database = service_database("customer-status", prepare=to_before)
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
