"""All SQL of accounts, positions and the ledger: locks first, reads in a later statement, plain rows in bulk.

`lock_accounts` is the one lock function, for the worker and for HTTP alike. What it locked is read by a *later*
statement: one that locks and reads at once waits for a row and then reads its old version.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import asyncpg
import msgspec
from programme.facts import Purchase, Return
from programme.instants import from_datetime, to_datetime
from programme.timeline import BASIS, steps_from_json, steps_to_json

from loyalty.points.domain import Account, Entry, Key, KnownReturn, Position

Connection = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy

_to_json = msgspec.json.Encoder(order="deterministic")
_cents = msgspec.json.Decoder(dict[str, int])
_years = msgspec.json.Decoder(dict[int, tuple[int, int]])


async def lock_accounts(conn: Connection, member_ids: Iterable[str]) -> None:
    """Create the accounts that are missing, then lock all of them, in ascending order of `member_id COLLATE "C"`.

    Python sorts `str` of ASCII as "C" does, but the order is stated in SQL where the locks are taken.
    """
    members = list(set(member_ids))
    await conn.execute(
        """
        INSERT INTO account (member_id)
        SELECT m FROM unnest($1::text[]) AS m
        WHERE NOT EXISTS (SELECT 1 FROM account a WHERE a.member_id = m)
        ORDER BY m COLLATE "C"
        ON CONFLICT DO NOTHING
        """,
        members,
    )
    await conn.execute(
        'SELECT 1 FROM account WHERE member_id = ANY($1::text[]) ORDER BY member_id COLLATE "C" FOR UPDATE',
        members,
    )


ACCOUNT = """
    SELECT account_no, member_id, joined_at, balance_points, expired_points, last_entry_no, last_event_no,
           points_by_year, last_purchase_at, waiting_returns, timeline, timeline_generation, timeline_events
    FROM account
"""


def account_of(row: asyncpg.Record) -> Account:
    """A row of `account`."""
    years = _years.decode(row["points_by_year"])
    return Account(
        account_no=row["account_no"],
        member_id=row["member_id"],
        joined_us=from_datetime(row["joined_at"]) if row["joined_at"] else None,
        balance_points=row["balance_points"],
        expired_points=row["expired_points"],
        last_entry_no=row["last_entry_no"],
        last_event_no=row["last_event_no"],
        earned_by_year={year: earned for year, (earned, _) in years.items()},
        debited_by_year={year: debited for year, (_, debited) in years.items()},
        last_purchase_us=from_datetime(row["last_purchase_at"]) if row["last_purchase_at"] else None,
        waiting_returns=row["waiting_returns"],
        timeline=steps_from_json(msgspec.json.decode(row["timeline"])) if row["timeline"] else BASIS,
        timeline_version=(row["timeline_generation"], row["timeline_events"]),
    )


async def read_accounts(conn: Connection, member_ids: Iterable[str]) -> dict[str, Account]:
    """Read accounts; call it after `lock_accounts`, in the same transaction, to change them."""
    rows = await conn.fetch(ACCOUNT + "WHERE member_id = ANY($1::text[])", list(member_ids))
    return {row["member_id"]: account_of(row) for row in rows}


async def find_account(conn: Connection, member_id: str) -> Account | None:
    """Read one account without a lock; None if there is none."""
    return (await read_accounts(conn, [member_id])).get(member_id)


POSITION = """
    SELECT p.account_no, a.member_id, p.purchase_id, p.occurred_at, p.received_at, p.cents_by_class, p.vouchers,
           p.eligible_cents, p.bonus_percent, p.returned_cents, p.returned_completely, p.posted_points
    FROM purchase_position p JOIN account a USING (account_no)
"""


def position_of(row: asyncpg.Record) -> Position:
    """A row of `purchase_position` with its `member_id`."""
    purchase = Purchase(
        member_id=row["member_id"],
        purchase_id=row["purchase_id"],
        occurred_us=from_datetime(row["occurred_at"]),
        cents_by_class=_cents.decode(row["cents_by_class"]),
        vouchers=tuple(row["vouchers"]),
    )
    return Position(
        row["account_no"],
        from_datetime(row["received_at"]),
        purchase,
        row["eligible_cents"],
        row["bonus_percent"],
        row["returned_cents"],
        row["returned_completely"],
        row["posted_points"],
    )


def return_of(row: asyncpg.Record) -> KnownReturn:
    """A row of `purchase_return` with its `member_id`."""
    fact = Return(
        member_id=row["member_id"],
        return_id=row["return_id"],
        purchase_id=row["purchase_id"],
        occurred_us=from_datetime(row["occurred_at"]),
        cents_by_class=_cents.decode(row["cents_by_class"]),
        complete=row["complete"],
    )
    return KnownReturn(row["account_no"], from_datetime(row["received_at"]), fact)


_KEYS = "JOIN unnest($1::bigint[], $2::text[]) AS k(account_no, key_id)"


async def read_positions(conn: Connection, keys: Sequence[Key]) -> dict[Key, Position]:
    """The positions of (account_no, purchase_id) `keys` that exist."""
    rows = await conn.fetch(
        f"{POSITION} {_KEYS} ON p.account_no = k.account_no AND p.purchase_id = k.key_id", *_columns(keys, 2)
    )
    return {(row["account_no"], row["purchase_id"]): position_of(row) for row in rows}


async def read_positions_since(conn: Connection, since: Mapping[int, int]) -> dict[Key, Position]:
    """The positions of each account that occurred strictly after its instant in `since` (account_no -> us)."""
    rows = await conn.fetch(
        f"""{POSITION} JOIN unnest($1::bigint[], $2::timestamptz[]) AS k(account_no, since)
        ON p.account_no = k.account_no AND p.occurred_at > k.since""",
        list(since),
        [to_datetime(us) for us in since.values()],
    )
    return {(row["account_no"], row["purchase_id"]): position_of(row) for row in rows}


RETURN = """
    SELECT r.account_no, a.member_id, r.return_id, r.purchase_id, r.occurred_at, r.received_at, r.cents_by_class,
           r.complete
    FROM purchase_return r JOIN account a USING (account_no)
"""


async def read_returns(conn: Connection, keys: Sequence[Key]) -> dict[Key, KnownReturn]:
    """The returns of (account_no, return_id) `keys` that exist."""
    rows = await conn.fetch(
        f"{RETURN} {_KEYS} ON r.account_no = k.account_no AND r.return_id = k.key_id", *_columns(keys, 2)
    )
    return {(row["account_no"], row["return_id"]): return_of(row) for row in rows}


async def read_returns_of(conn: Connection, keys: Sequence[Key]) -> dict[Key, list[KnownReturn]]:
    """The returns that name the (account_no, purchase_id) `keys`."""
    rows = await conn.fetch(
        f"{RETURN} {_KEYS} ON r.account_no = k.account_no AND r.purchase_id = k.key_id", *_columns(keys, 2)
    )
    found: dict[Key, list[KnownReturn]] = {}
    for row in rows:
        found.setdefault((row["account_no"], row["purchase_id"]), []).append(return_of(row))
    return found


async def write_positions(conn: Connection, positions: Iterable[Position]) -> None:
    """Add the new positions and update the changed ones."""
    new: list[tuple[Any, ...]] = []
    changed: list[tuple[Any, ...]] = []
    for p in positions:
        sums = (p.returned_cents, p.returned_completely, p.bonus_percent, p.posted_points)
        if p.is_new:
            content = (
                _to_json.encode(p.purchase.cents_by_class).decode(),
                p.purchase.vouchers,
                p.eligible_cents,
            )
            instants = (to_datetime(p.purchase.occurred_us), to_datetime(p.received_us))
            new.append((p.account_no, p.purchase.purchase_id, *instants, *content, *sums))
        elif p.changed:
            changed.append((p.account_no, p.purchase.purchase_id, *sums))
    sum_columns = ("returned_cents", "returned_completely", "bonus_percent", "posted_points")
    if new:
        key_columns = ("account_no", "purchase_id", "occurred_at", "received_at")
        columns = (*key_columns, "cents_by_class", "vouchers", "eligible_cents", *sum_columns)
        await conn.copy_records_to_table("purchase_position", records=new, columns=columns)
    if changed:
        await conn.execute(
            """
            UPDATE purchase_position p
            SET returned_cents = u.returned_cents, returned_completely = u.returned_completely,
                bonus_percent = u.bonus_percent, posted_points = u.posted_points
            FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bool[], $5::int[], $6::bigint[])
                AS u(account_no, purchase_id, returned_cents, returned_completely, bonus_percent, posted_points)
            WHERE p.account_no = u.account_no AND p.purchase_id = u.purchase_id
            """,
            *_columns(changed, 6),
        )


async def write_returns(conn: Connection, returns: Iterable[KnownReturn]) -> None:
    """Add the new returns; a return never changes."""
    records = [
        (
            row.account_no,
            row.fact.return_id,
            row.fact.purchase_id,
            to_datetime(row.fact.occurred_us),
            to_datetime(row.received_us),
            _to_json.encode(row.fact.cents_by_class).decode(),
            row.fact.complete,
        )
        for row in returns
        if row.is_new
    ]
    if records:
        key_columns = ("account_no", "return_id", "purchase_id", "occurred_at", "received_at")
        columns = (*key_columns, "cents_by_class", "complete")
        await conn.copy_records_to_table("purchase_return", records=records, columns=columns)


async def write_accounts(conn: Connection, accounts: Iterable[Account]) -> None:
    """Update the changed accounts and add their new entries to the ledger."""
    changed = [account for account in accounts if account.changed]
    if not changed:
        return
    await conn.execute(
        """
        UPDATE account a
        SET joined_at = u.joined_at, balance_points = u.balance_points, expired_points = u.expired_points,
            last_entry_no = u.last_entry_no, last_event_no = u.last_event_no, points_by_year = u.points_by_year,
            last_purchase_at = u.last_purchase_at, waiting_returns = u.waiting_returns, timeline = u.timeline,
            timeline_generation = u.timeline_generation, timeline_events = u.timeline_events
        FROM unnest($1::bigint[], $2::timestamptz[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[],
                    $7::jsonb[], $8::timestamptz[], $9::int[], $10::jsonb[], $11::int[], $12::bigint[])
            AS u(account_no, joined_at, balance_points, expired_points, last_entry_no, last_event_no,
                 points_by_year, last_purchase_at, waiting_returns, timeline, timeline_generation, timeline_events)
        WHERE a.account_no = u.account_no
        """,
        *_columns([_account_record(account) for account in changed], 12),
    )
    entries = [entry for account in changed for entry in account.new_entries]
    if entries:
        await conn.copy_records_to_table("ledger_entry", records=entries, columns=Entry._fields)


def _account_record(account: Account) -> tuple[Any, ...]:
    years = account.earned_by_year.keys() | account.debited_by_year.keys()
    points_by_year = {
        str(year): (account.earned_by_year.get(year, 0), account.debited_by_year.get(year, 0)) for year in sorted(years)
    }
    generation, events = account.timeline_version
    timeline = None if generation == 0 else _to_json.encode(steps_to_json(account.timeline)).decode()
    return (
        account.account_no,
        None if account.joined_us is None else to_datetime(account.joined_us),
        account.balance_points,
        account.expired_points,
        account.last_entry_no,
        account.last_event_no,
        _to_json.encode(points_by_year).decode(),
        None if account.last_purchase_us is None else to_datetime(account.last_purchase_us),
        account.waiting_returns,
        timeline,
        generation,
        events,
    )


def _columns(rows: Sequence[tuple[Any, ...]], width: int) -> list[list[Any]]:
    """Rows as the arrays that `unnest` takes."""
    return [[row[i] for row in rows] for i in range(width)]
