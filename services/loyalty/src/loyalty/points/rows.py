"""How accounts, positions and returns look as rows of their tables; no SQL, no rules.

Instants are microseconds here and timestamps there, cents per class a dict here and jsonb there.
"""

import functools
import struct
from collections.abc import Sequence
from typing import Any

import asyncpg
import msgspec
from eventing import binary_copy
from eventing.arrays import numbers, texts
from programme.facts import Purchase, Return
from programme.instants import from_datetime, to_datetime
from programme.timeline import BASIS, steps_from_json, steps_to_json

from loyalty.points.account import Account, Entry
from loyalty.points.domain import Key, KnownReturn, Position

POSITION_COLUMNS = (
    "account_no",
    "purchase_id",
    "occurred_at",
    "received_at",
    "cents_by_class",
    "vouchers",
    "eligible_cents",
    "returned_cents",
    "returned_completely",
    "bonus_percent",
    "posted_points",
)
RETURN_COLUMNS = ("account_no", "return_id", "purchase_id", "occurred_at", "received_at", "cents_by_class", "complete")

_to_json = msgspec.json.Encoder(order="deterministic")
_cents = msgspec.json.Decoder(dict[str, int])
_years = msgspec.json.Decoder(dict[int, tuple[int, int]])


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


def purchase_of(row: asyncpg.Record) -> Purchase:
    """What was bought, of a row of `purchase_position` with its `member_id`."""
    return Purchase(
        member_id=row["member_id"],
        purchase_id=row["purchase_id"],
        occurred_us=from_datetime(row["occurred_at"]),
        cents_by_class=_cents.decode(row["cents_by_class"]),
        vouchers=tuple(row["vouchers"]),
    )


def position_of(row: asyncpg.Record) -> Position:
    """A row of `purchase_position` with its `member_id`."""
    return Position(
        row["account_no"],
        from_datetime(row["received_at"]),
        purchase_of(row),
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


def sums_arrays(accounts: Sequence[Account]) -> tuple[str, ...]:
    """What the UPDATE of `write_accounts` takes, array by array."""
    return (
        numbers([account.account_no for account in accounts]),
        numbers([account.balance_points for account in accounts]),
        numbers([account.expired_points for account in accounts]),
        numbers([account.expiry_year for account in accounts]),
        numbers([account.last_entry_no for account in accounts]),
        numbers([account.last_event_no for account in accounts]),
        numbers([account.waiting_returns for account in accounts]),
        texts([_points_by_year(account) for account in accounts]),
        numbers([account.last_purchase_us for account in accounts]),
    )


def _points_by_year(account: Account) -> str:
    earned, debited = account.earned_by_year, account.debited_by_year
    years = earned.keys() | debited.keys()
    return _to_json.encode({str(year): (earned.get(year, 0), debited.get(year, 0)) for year in years}).decode()


def key_arrays(keys: Sequence[Key]) -> tuple[str, str]:
    """Business keys as two arrays."""
    return numbers([account_no for account_no, _ in keys]), texts([key for _, key in keys])


def timeline_record(account: Account) -> tuple[int, str, int, int]:
    """account_no, timeline, generation and events."""
    return (account.account_no, _to_json.encode(steps_to_json(account.timeline)).decode(), *account.timeline_version)


_position_head = struct.Struct("!hiqi").pack
_position_times = struct.Struct("!iqiq").pack
_position_sums = struct.Struct("!iqiqi?iiiq").pack


def packed_position(position: Position) -> bytes:
    """The values of `POSITION_COLUMNS`, packed for COPY."""
    purchase = position.purchase
    purchase_id = purchase.purchase_id.encode()
    return b"".join(
        (
            _position_head(len(POSITION_COLUMNS), 8, position.account_no, len(purchase_id)),
            purchase_id,
            _position_times(
                8, binary_copy.timestamp(purchase.occurred_us), 8, binary_copy.timestamp(position.received_us)
            ),
            binary_copy.jsonb(_to_json.encode(purchase.cents_by_class)),
            binary_copy.texts(purchase.vouchers),
            _position_sums(
                *(8, position.eligible_cents, 8, position.returned_cents, 1, position.returned_completely),
                *(4, position.bonus_percent, 8, position.posted_points),
            ),
        )
    )


_entry_head = struct.Struct("!hiqiq").pack
_entry_points = struct.Struct("!iq").pack
_word = functools.lru_cache(maxsize=64)(binary_copy.text)
"""Kinds and levels are a handful of words."""


def packed_entry(entry: Entry) -> bytes:
    """The fields of an entry, packed for COPY."""
    account_no, entry_no, kind, points, purchase_id, cause_id, level = entry
    return b"".join(
        (
            _entry_head(len(entry), 8, account_no, 8, entry_no),
            _word(kind),
            _entry_points(8, points),
            binary_copy.text(purchase_id),
            binary_copy.text(cause_id),
            _word(level),
        )
    )


def position_sums(position: Position) -> tuple[Any, ...]:
    """The key of a position, and what may change of it."""
    key = (position.account_no, position.purchase.purchase_id)
    return (
        *key,
        position.returned_cents,
        position.returned_completely,
        position.bonus_percent,
        position.posted_points,
    )


def return_record(row: KnownReturn) -> tuple[Any, ...]:
    """The values of `RETURN_COLUMNS`."""
    fact = row.fact
    return (
        row.account_no,
        fact.return_id,
        fact.purchase_id,
        to_datetime(fact.occurred_us),
        to_datetime(row.received_us),
        _to_json.encode(fact.cents_by_class).decode(),
        fact.complete,
    )


def columns(rows: Sequence[tuple[Any, ...]], width: int) -> list[list[Any]]:
    """Rows as the arrays that `unnest` takes."""
    return [[row[i] for row in rows] for i in range(width)]
