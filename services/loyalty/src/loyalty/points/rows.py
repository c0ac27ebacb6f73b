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
from programme.timeline import BASIS, steps_to_json, timeline_from_text

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
    earned_by_year, debited_by_year = {}, {}
    for year, (earned, debited) in _years.decode(by_year).items():
        earned_by_year[year] = earned
        if debited:
            debited_by_year[year] = debited
    return Account(
        account_no,
        member_id,
        None if joined_at is None else from_datetime(joined_at),
        balance,
        expired,
        expiry_year,
        entry_no,
        event_no,
        earned_by_year,
        debited_by_year,
        None if last_purchase_at is None else from_datetime(last_purchase_at),
        waiting_returns,
        BASIS if timeline is None else timeline_from_text(timeline),
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
    rows = [
        (
            account.account_no,
            account.balance_points,
            account.expired_points,
            account.expiry_year,
            account.last_entry_no,
            account.last_event_no,
            account.waiting_returns,
            account.last_purchase_us,
        )
        for account in accounts
    ]
    return (*map(numbers, zip(*rows, strict=True)), texts([_points_by_year(account) for account in accounts]))


def _points_by_year(account: Account) -> str:
    earned, debited = account.earned_by_year, account.debited_by_year
    if not debited:
        return "{" + ",".join([f'"{year}":[{points},0]' for year, points in earned.items()]) + "}"
    years = earned.keys() | debited.keys()
    return "{" + ",".join([f'"{year}":[{earned.get(year, 0)},{debited.get(year, 0)}]' for year in years]) + "}"


def key_arrays(keys: Sequence[Key]) -> tuple[str, str]:
    """Business keys as two arrays."""
    return numbers([account_no for account_no, _ in keys]), texts([key for _, key in keys])


def timeline_record(account: Account) -> tuple[int, str, int, int]:
    """account_no, timeline, generation and events."""
    return (account.account_no, _to_json.encode(steps_to_json(account.timeline)).decode(), *account.timeline_version)


_position_head = struct.Struct("!hiqi").pack
_position_facts = struct.Struct("!iqiqiB").pack
_position_sums = struct.Struct("!iqiqi?iiiq").pack
_POSITION_FIELDS = len(POSITION_COLUMNS)


def packed_position(position: Position) -> bytes:
    """The values of `POSITION_COLUMNS`, packed for COPY."""
    purchase = position.purchase
    purchase_id, cents = purchase.purchase_id.encode(), _to_json.encode(purchase.cents_by_class)
    occurred, received = binary_copy.timestamp(purchase.occurred_us), binary_copy.timestamp(position.received_us)
    returned, completely = position.returned_cents, position.returned_completely
    return b"".join(
        (
            _position_head(_POSITION_FIELDS, 8, position.account_no, len(purchase_id)),
            purchase_id,
            _position_facts(8, occurred, 8, received, len(cents) + 1, binary_copy.JSONB_VERSION),
            cents,
            binary_copy.texts(purchase.vouchers) if purchase.vouchers else binary_copy.NO_TEXTS,
            _position_sums(
                8,
                position.eligible_cents,
                8,
                returned,
                1,
                completely,
                4,
                position.bonus_percent,
                8,
                position.posted_points,
            ),
        )
    )


_entry_head = struct.Struct("!hiqiq").pack
_entry_points = struct.Struct("!iq").pack
ENTRY_COLUMNS = Entry.__struct_fields__
_ENTRY_FIELDS = len(ENTRY_COLUMNS)
_word = functools.lru_cache(maxsize=64)(binary_copy.text)
"""Kinds and levels are a handful of words."""


def packed_entry(entry: Entry) -> bytes:
    """The fields of an entry, packed for COPY."""
    return b"".join(
        (
            _entry_head(_ENTRY_FIELDS, 8, entry.account_no, 8, entry.entry_no),
            _word(entry.kind),
            _entry_points(8, entry.points),
            binary_copy.text(entry.purchase_id),
            binary_copy.text(entry.cause_id),
            _word(entry.level),
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
