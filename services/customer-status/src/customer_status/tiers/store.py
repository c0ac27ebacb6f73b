"""All SQL on members, purchases and returns; every statement serves a whole batch.

Whoever writes locks the members first, with `lock_members`, and reads what hangs on them in later statements: one that
waits for a lock and joins other tables joins what they were before it waited.
"""

from collections.abc import Collection, Iterable, Mapping

from eventing.arrays import texts
from eventing.binary_copy import copy_packed
from eventing.database import Connection
from eventing.failures import StartOver
from eventing.forgotten import Secret, forgotten_among
from programme.instants import to_datetime
from programme.timeline import Timeline

from customer_status.tiers.domain import Key, Member, PurchaseRow, ReturnRow
from customer_status.tiers.rows import (
    MEMBER_COLUMNS,
    PURCHASE_COLUMNS,
    RETURN_COLUMNS,
    columns,
    key_arrays,
    member_arrays,
    member_from_row,
    packed_purchase,
    purchase_from_row,
    return_from_row,
    return_record,
    timeline_from_row,
)

_LOCK = f"""
    SELECT {", ".join(MEMBER_COLUMNS)} FROM member WHERE member_id = ANY ($1::text::text[])
    ORDER BY member_id COLLATE "C" FOR UPDATE"""
_INSERT_MISSING = f"""
    INSERT INTO member (member_id)
    SELECT wanted.member_id FROM unnest($1::text::text[]) AS wanted (member_id) ORDER BY wanted.member_id COLLATE "C"
    ON CONFLICT (member_id) DO NOTHING
    RETURNING {", ".join(MEMBER_COLUMNS)}"""
_SELECT_PURCHASES = f"SELECT {', '.join(PURCHASE_COLUMNS)} FROM purchase"
_SELECT_RETURNS = f"SELECT {', '.join(RETURN_COLUMNS)} FROM purchase_return"
_WANTED = "JOIN unnest($1::text::bigint[], $2::text::text[]) AS wanted (account_no, {0}) USING (account_no, {0})"


async def lock_members(conn: Connection, member_ids: Iterable[str], secret: Secret | None = None) -> dict[str, Member]:
    """Lock the members' rows, always in the same order; returns them as they are under the lock.

    With `secret` those that are absent are created, but not for who was erased: some may have none. Only `secret` can
    tell the erased among the new ones, so without it nobody is created.

    The order of bytes, stated in both statements, keeps two transactions from waiting for each other in a circle: new
    ones come after all others, and whoever waits for a row that another one is adding can only have added smaller ones.
    Raises StartOver where another transaction added one first: it is to be locked among the others.
    """
    wanted = set(member_ids)
    members = await _fetch_members(conn, _LOCK, wanted)
    missing = wanted - members.keys() if secret is not None else ()
    if secret is None or not missing:
        return members
    created = await _fetch_members(conn, _INSERT_MISSING, missing)
    if len(created) < len(missing):
        if members or created:
            raise StartOver("another transaction made a member meanwhile who is to be locked among the others")
        return await _fetch_members(conn, _LOCK, wanted)  # nothing is held yet
    # A statement of its own: it sees an erasure that committed while this transaction waited for its locks.
    erased = await forgotten_among(conn, secret, missing)
    if erased:
        await conn.execute("DELETE FROM member WHERE member_id = ANY ($1::text::text[])", texts(erased))
    return members | {name: member for name, member in created.items() if name not in erased}


async def _fetch_members(conn: Connection, statement: str, member_ids: Collection[str]) -> dict[str, Member]:
    """Of a row it had to wait for, a statement with FOR UPDATE returns the version it locked (PostgreSQL's
    documentation, 13.2.1).
    """
    rows = await conn.fetch(statement, texts(member_ids))
    return {row["member_id"]: member_from_row(row) for row in rows}


async def cut_links(conn: Connection, account_nos: Collection[int]) -> None:
    """Make locked members nameless."""
    await conn.execute(
        "UPDATE member SET member_id = NULL, joined_at = NULL WHERE account_no = ANY ($1::bigint[])", list(account_nos)
    )


async def lock_known_member(conn: Connection, member_id: str) -> int | None:
    """Lock one member, for a request about them, and create nobody; returns the account's number, None if unknown."""
    account_no: int | None = await conn.fetchval(
        "SELECT account_no FROM member WHERE member_id = $1 FOR UPDATE", member_id
    )
    return account_no


async def lock_known_accounts(conn: Connection, account_nos: Collection[int]) -> list[int]:
    """Lock those of these accounts that are not erased, in the order of `lock_members`; returns their numbers."""
    rows = await conn.fetch(
        """
        SELECT account_no FROM member WHERE account_no = ANY ($1::bigint[]) AND member_id IS NOT NULL
        ORDER BY member_id COLLATE "C" FOR UPDATE""",
        list(account_nos),
    )
    return [row["account_no"] for row in rows]


async def find_account_no(conn: Connection, member_id: str) -> int | None:
    """The number of a member's account; None if unknown."""
    account_no: int | None = await conn.fetchval("SELECT account_no FROM member WHERE member_id = $1", member_id)
    return account_no


async def read_timeline(conn: Connection, account_no: int) -> Timeline:
    """An account's timeline as it stands. Whoever decides by it has locked the member, in an earlier statement."""
    [row] = await conn.fetch("SELECT timeline FROM member WHERE account_no = $1", account_no)
    return timeline_from_row(row)


async def join_members(conn: Connection, joined_us: Mapping[int, int]) -> None:
    """Note when the accounts joined; of two instants the earlier one stays."""
    await conn.execute(
        """
        UPDATE member SET joined_at = new.joined_at
        FROM unnest($1::bigint[], $2::timestamptz[]) AS new (account_no, joined_at)
        WHERE member.account_no = new.account_no
          AND (member.joined_at IS NULL OR member.joined_at > new.joined_at)""",
        list(joined_us),
        [to_datetime(us) for us in joined_us.values()],
    )


async def find_purchases(conn: Connection, keys: Collection[Key], names: Mapping[int, str]) -> dict[Key, PurchaseRow]:
    """The known ones of these purchases; `names` tells the member_id of each account."""
    if not keys:
        return {}
    rows = await conn.fetch(f"{_SELECT_PURCHASES} {_WANTED.format('purchase_id')}", *key_arrays(keys))
    found = (purchase_from_row(row, names[row["account_no"]]) for row in rows)
    return {(row.account_no, row.fact.purchase_id): row for row in found}


async def find_returns(conn: Connection, keys: Collection[Key], names: Mapping[int, str]) -> dict[Key, ReturnRow]:
    """The known ones of these returns."""
    if not keys:
        return {}
    rows = await conn.fetch(f"{_SELECT_RETURNS} {_WANTED.format('return_id')}", *key_arrays(keys))
    found = (return_from_row(row, names[row["account_no"]]) for row in rows)
    return {(row.account_no, row.fact.return_id): row for row in found}


async def find_returns_of(
    conn: Connection, purchase_keys: Collection[Key], names: Mapping[int, str]
) -> dict[Key, list[ReturnRow]]:
    """The returns of these purchases.

    No index serves this: it is asked only for members with a waiting return, who have few returns, and an index
    would be kept up for every return there is.
    """
    found: dict[Key, list[ReturnRow]] = {}
    if not purchase_keys:
        return found
    rows = await conn.fetch(f"{_SELECT_RETURNS} {_WANTED.format('purchase_id')}", *key_arrays(purchase_keys))
    for row in rows:
        each = return_from_row(row, names[row["account_no"]])
        found.setdefault((each.account_no, each.fact.purchase_id), []).append(each)
    return found


async def insert_purchases(conn: Connection, rows: Iterable[PurchaseRow]) -> None:
    """Add purchases."""
    if packed := [packed_purchase(row) for row in rows]:
        await copy_packed(conn, "purchase", PURCHASE_COLUMNS, packed)


async def insert_returns(conn: Connection, rows: Iterable[ReturnRow]) -> None:
    """Add returns."""
    if records := [return_record(row) for row in rows]:
        await conn.copy_records_to_table("purchase_return", records=records, columns=RETURN_COLUMNS)


async def update_purchases(conn: Connection, rows: Collection[PurchaseRow]) -> None:
    """Write what came back of known purchases."""
    if not rows:
        return
    records = [
        (
            row.account_no,
            row.fact.purchase_id,
            row.returned_cents,
            row.returned_total_cents,
            row.returned_completely,
        )
        for row in rows
    ]
    await conn.execute(
        """
        UPDATE purchase
        SET returned_cents = new.returned_cents, returned_total_cents = new.returned_total_cents,
            returned_completely = new.returned_completely
        FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[], $5::boolean[])
          AS new (account_no, purchase_id, returned_cents, returned_total_cents, returned_completely)
        WHERE purchase.account_no = new.account_no AND purchase.purchase_id = new.purchase_id""",
        *columns(records, 5),
    )


async def update_members(conn: Connection, members: Collection[Member], timelines: Mapping[int, Timeline]) -> None:
    """Write locked members; `timelines` are those published now, by account."""
    if not members:
        return
    await conn.execute(
        """
        UPDATE member
        SET events = new.events, waiting_returns = new.waiting_returns, state = new.state,
            timeline = coalesce(new.timeline, member.timeline), first_event_day = new.first_event_day,
            last_purchase_day = new.last_purchase_day, last_return_day = new.last_return_day,
            purchase_days = new.purchase_days::int[], kept_cents = new.kept_cents::bigint[],
            purchase_months = new.purchase_months::smallint[]
        FROM unnest($1::text::bigint[], $2::text::bigint[], $3::text::int[], $4::bytea[], $5::jsonb[],
                    $6::text::int[], $7::text::int[], $8::text::int[], $9::text::text[], $10::text::text[],
                    $11::text::text[])
          AS new (account_no, events, waiting_returns, state, timeline, first_event_day, last_purchase_day,
                  last_return_day, purchase_days, kept_cents, purchase_months)
        WHERE member.account_no = new.account_no""",
        *member_arrays(members, timelines),
    )


async def read_purchases(conn: Connection, names: Mapping[int, str | None]) -> dict[int, list[PurchaseRow]]:
    """All purchases of these accounts; `names` tells the member_id of each."""
    found: dict[int, list[PurchaseRow]] = {account_no: [] for account_no in names}
    for row in await conn.fetch(f"{_SELECT_PURCHASES} WHERE account_no = ANY ($1::bigint[])", list(names)):
        found[row["account_no"]].append(purchase_from_row(row, names[row["account_no"]]))
    return found


async def read_returns(conn: Connection, names: Mapping[int, str | None]) -> dict[int, list[ReturnRow]]:
    """All returns of these accounts, waiting ones too."""
    found: dict[int, list[ReturnRow]] = {account_no: [] for account_no in names}
    for row in await conn.fetch(f"{_SELECT_RETURNS} WHERE account_no = ANY ($1::bigint[])", list(names)):
        found[row["account_no"]].append(return_from_row(row, names[row["account_no"]]))
    return found
