"""All SQL of accounts, positions and the ledger: locks first, reads in a later statement, plain rows in bulk.

`lock_accounts` is the one lock function, for the worker and for HTTP alike. What it locked is read by a *later*
statement: one that locks and reads at once waits for a row and then reads its old version.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import asyncpg
import msgspec
from programme.facts import Purchase, Return
from programme.instants import from_datetime, to_datetime
from programme.timeline import BASIS, steps_from_json, steps_to_json

from loyalty.points.account import Account, Entry
from loyalty.points.domain import Key, KnownReturn, Position

Connection = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy

_to_json = msgspec.json.Encoder(order="deterministic")
_cents = msgspec.json.Decoder(dict[str, int])
_years = msgspec.json.Decoder(dict[int, tuple[int, int]])


async def lock_accounts(conn: Connection, member_ids: Iterable[str], owner_nos: Collection[int] = ()) -> None:
    """Create the members' accounts that are missing, then lock them and those of the owners of vouchers.

    Ascending by `member_id COLLATE "C"`, nameless ones last by number. Python sorts `str` of ASCII as "C" does, but
    the order is stated in SQL where the locks are taken.
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
    if not owner_nos:
        await conn.execute(
            'SELECT 1 FROM account WHERE member_id = ANY($1::text[]) ORDER BY member_id COLLATE "C" FOR UPDATE',
            members,
        )
        return
    await conn.execute(
        """
        SELECT 1 FROM account WHERE member_id = ANY($1::text[]) OR account_no = ANY($2::bigint[])
        ORDER BY member_id COLLATE "C" NULLS LAST, account_no FOR UPDATE
        """,
        members,
        list(owner_nos),
    )


ACCOUNT = """
    SELECT account_no, member_id, joined_at, balance_points, expired_points, expiry_year, last_entry_no, last_event_no,
           points_by_year, last_purchase_at, waiting_returns, timeline, timeline_generation, timeline_events
    FROM account
"""


def account_of(row: asyncpg.Record) -> Account:
    """A row of `ACCOUNT`."""
    account_no, member_id, joined_at, balance, expired, expiry_year, entry_no, event_no, by_year, *rest = row.values()
    last_purchase_at, waiting_returns, timeline, generation, events = rest
    years = _years.decode(by_year).items()
    return Account(
        account_no,
        member_id,
        None if joined_at is None else from_datetime(joined_at),
        balance,
        expired,
        expiry_year,
        entry_no,
        event_no,
        {year: earned for year, (earned, _) in years},
        {year: debited for year, (_, debited) in years if debited},
        None if last_purchase_at is None else from_datetime(last_purchase_at),
        waiting_returns,
        BASIS if timeline is None else steps_from_json(msgspec.json.decode(timeline)),
        (generation, events),
    )


async def read_accounts(conn: Connection, member_ids: Iterable[str]) -> dict[str, Account]:
    """Read accounts; call it after `lock_accounts`, in the same transaction, to change them."""
    rows = await conn.fetch(ACCOUNT + "WHERE member_id = ANY($1::text[])", list(member_ids))
    return {row["member_id"]: account_of(row) for row in rows}


async def read_owners(conn: Connection, account_nos: Collection[int]) -> dict[int, Account]:
    """Read accounts by number, nameless ones too; call it after `lock_accounts`."""
    rows = await conn.fetch(ACCOUNT + "WHERE account_no = ANY($1::bigint[])", list(account_nos))
    return {row["account_no"]: account_of(row) for row in rows}


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


async def vouchers_named_by(conn: Connection, keys: Sequence[tuple[str, str]]) -> set[str]:
    """The ids of the vouchers that known purchases, by (member_id, purchase_id), name. They never change."""
    rows = await conn.fetch(
        """
        SELECT DISTINCT unnest(p.vouchers) AS voucher_id
        FROM unnest($1::text[], $2::text[]) AS k(member_id, purchase_id)
        JOIN account a USING (member_id)
        JOIN purchase_position p ON p.account_no = a.account_no AND p.purchase_id = k.purchase_id
        """,
        [member_id for member_id, _ in keys],
        [purchase_id for _, purchase_id in keys],
    )
    return {row["voucher_id"] for row in rows}


async def accounts_behind(conn: Connection, year: int, after_no: int, limit: int) -> list[int]:
    """Numbers of at most `limit` accounts above `after_no` whose expiry is not posted up to `year`, ascending."""
    rows = await conn.fetch(
        "SELECT account_no FROM account WHERE expiry_year < $1 AND account_no > $2 ORDER BY account_no LIMIT $3",
        year,
        after_no,
        limit,
    )
    return [row["account_no"] for row in rows]


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
        SET balance_points = u.balance_points, expired_points = u.expired_points, expiry_year = u.expiry_year,
            last_entry_no = u.last_entry_no, last_event_no = u.last_event_no, points_by_year = u.points_by_year,
            last_purchase_at = u.last_purchase_at, waiting_returns = u.waiting_returns
        FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::int[], $5::bigint[], $6::bigint[], $7::jsonb[],
                    $8::timestamptz[], $9::int[])
            AS u(account_no, balance_points, expired_points, expiry_year, last_entry_no, last_event_no,
                 points_by_year, last_purchase_at, waiting_returns)
        WHERE a.account_no = u.account_no
        """,
        *_columns([_sums_record(account) for account in changed], 9),
    )
    entries = [entry for account in changed for entry in account.new_entries]
    if entries:
        await conn.copy_records_to_table("ledger_entry", records=entries, columns=Entry._fields)


def _sums_record(account: Account) -> tuple[Any, ...]:
    earned, debited = account.earned_by_year, account.debited_by_year
    points_by_year = {str(year): (earned.get(year, 0), debited.get(year, 0)) for year in earned.keys() | debited.keys()}
    return (
        account.account_no,
        account.balance_points,
        account.expired_points,
        account.expiry_year,
        account.last_entry_no,
        account.last_event_no,
        _to_json.encode(points_by_year).decode(),
        None if account.last_purchase_us is None else to_datetime(account.last_purchase_us),
        account.waiting_returns,
    )


async def write_timelines(conn: Connection, accounts: Iterable[Account]) -> None:
    """Update the timelines of accounts that got a new one."""
    records = [
        (account.account_no, _to_json.encode(steps_to_json(account.timeline)).decode(), *account.timeline_version)
        for account in accounts
    ]
    if records:
        await conn.execute(
            """
            UPDATE account a
            SET timeline = u.timeline, timeline_generation = u.generation, timeline_events = u.events
            FROM unnest($1::bigint[], $2::jsonb[], $3::int[], $4::bigint[])
                AS u(account_no, timeline, generation, events)
            WHERE a.account_no = u.account_no
            """,
            *_columns(records, 4),
        )


async def write_joined(conn: Connection, account: Account) -> None:
    """Note when a member joined."""
    assert account.joined_us is not None
    joined_at = to_datetime(account.joined_us)
    await conn.execute("UPDATE account SET joined_at = $2 WHERE account_no = $1", account.account_no, joined_at)


def _columns(rows: Sequence[tuple[Any, ...]], width: int) -> list[list[Any]]:
    """Rows as the arrays that `unnest` takes."""
    return [[row[i] for row in rows] for i in range(width)]
