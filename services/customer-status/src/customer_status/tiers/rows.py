"""How members, purchases and returns look as rows of their tables; no SQL, no rules.

Instants are microseconds here and timestamps there, cents per class a dict here and jsonb there.
"""

import struct
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import asyncpg
import msgspec
from eventing import binary_copy
from eventing.arrays import lists, numbers, read_numbers, texts
from programme.calendar import date_of, day_of
from programme.facts import Purchase, Return
from programme.instants import from_datetime, to_datetime
from programme.levels import LevelState, decode, encode, new_state
from programme.timeline import BASIS, Timeline, steps_to_json, timeline_from_text

from customer_status.tiers.domain import Key, Member, PurchaseRow, ReturnRow
from customer_status.tiers.purchase_days import PurchaseDays

MEMBER_COLUMNS = (
    "account_no",
    "member_id",
    "joined_at",
    "generation",
    "events",
    "waiting_returns",
    "state",
    "timeline",
    "first_event_day",
    "last_purchase_day",
    "last_return_day",
    "purchase_days::text AS purchase_days",
    "kept_cents::text AS kept_cents",
)
PURCHASE_COLUMNS = (
    "account_no",
    "purchase_id",
    "occurred_at",
    "received_at",
    "cents_by_class",
    "vouchers",
    "eligible_cents",
    "returned_cents",
    "returned_completely",
    "civil_date",
    "total_cents",
    "returned_total_cents",
)
RETURN_COLUMNS = (
    "account_no",
    "return_id",
    "purchase_id",
    "occurred_at",
    "received_at",
    "cents_by_class",
    "complete",
    "civil_date",
    "total_cents",
)

_cents = msgspec.json.Decoder(dict[str, int]).decode


def member_from_row(row: asyncpg.Record) -> Member:
    """A locked member."""
    return Member(
        account_no=row["account_no"],
        member_id=row["member_id"],
        generation=row["generation"],
        events=row["events"],
        waiting_returns=row["waiting_returns"],
        levels=levels_from_row(row),
        published=timeline_from_row(row),
        purchase_days=days_from_row(row),
    )


def days_from_row(row: asyncpg.Record) -> PurchaseDays:
    """The purchase days of a member."""
    return PurchaseDays(
        first_event_day=row["first_event_day"],
        last_purchase_day=row["last_purchase_day"],
        last_return_day=row["last_return_day"],
        days=read_numbers(row["purchase_days"]),
        kept_cents=read_numbers(row["kept_cents"]),
    )


def levels_from_row(row: asyncpg.Record) -> LevelState:
    """The packed levels of a member; those of one without a purchase if there are none."""
    return new_state() if row["state"] is None else decode(row["state"])


def timeline_from_row(row: asyncpg.Record) -> Timeline:
    """The timeline published last; never published means basis."""
    return BASIS if row["timeline"] is None else timeline_from_text(row["timeline"])


def purchase_from_row(row: asyncpg.Record, member_id: str | None) -> PurchaseRow:
    """A purchase of `member_id`."""
    fact = Purchase(
        member_id=member_id or "",
        purchase_id=row["purchase_id"],
        occurred_us=from_datetime(row["occurred_at"]),
        cents_by_class=_cents(row["cents_by_class"]),
        vouchers=tuple(row["vouchers"]),
    )
    return PurchaseRow(
        account_no=row["account_no"],
        received_us=from_datetime(row["received_at"]),
        fact=fact,
        eligible_cents=row["eligible_cents"],
        total_cents=row["total_cents"],
        day=day_of(row["civil_date"]),
        returned_cents=row["returned_cents"],
        returned_total_cents=row["returned_total_cents"],
        returned_completely=row["returned_completely"],
    )


def return_from_row(row: asyncpg.Record, member_id: str | None) -> ReturnRow:
    """A return of `member_id`."""
    fact = Return(
        member_id=member_id or "",
        return_id=row["return_id"],
        purchase_id=row["purchase_id"],
        occurred_us=from_datetime(row["occurred_at"]),
        cents_by_class=_cents(row["cents_by_class"]),
        complete=row["complete"],
    )
    received_us, day = from_datetime(row["received_at"]), day_of(row["civil_date"])
    return ReturnRow(row["account_no"], received_us, fact, row["total_cents"], day)


_purchase_head = struct.Struct("!hiqi").pack
_purchase_facts = struct.Struct("!iqiqiB").pack
_purchase_sums = struct.Struct("!iqiqi?iiiiiq").pack
_PURCHASE_FIELDS = len(PURCHASE_COLUMNS)


def packed_purchase(row: PurchaseRow) -> bytes:
    """The values of `PURCHASE_COLUMNS`, packed for COPY."""
    fact = row.fact
    purchase_id, cents = fact.purchase_id.encode(), msgspec.json.encode(fact.cents_by_class)
    occurred, received = binary_copy.timestamp(fact.occurred_us), binary_copy.timestamp(row.received_us)
    returned, completely = row.returned_cents, row.returned_completely
    return b"".join(
        (
            _purchase_head(_PURCHASE_FIELDS, 8, row.account_no, len(purchase_id)),
            purchase_id,
            _purchase_facts(8, occurred, 8, received, len(cents) + 1, binary_copy.JSONB_VERSION),
            cents,
            binary_copy.texts(fact.vouchers),
            _purchase_sums(
                *(8, row.eligible_cents, 8, returned, 1, completely, 4, binary_copy.date(row.day)),
                *(4, row.total_cents, 8, row.returned_total_cents),
            ),
        )
    )


def return_record(row: ReturnRow) -> tuple[Any, ...]:
    """The values of `RETURN_COLUMNS`."""
    return (
        row.account_no,
        row.fact.return_id,
        row.fact.purchase_id,
        to_datetime(row.fact.occurred_us),
        to_datetime(row.received_us),
        _to_json(row.fact.cents_by_class),
        row.fact.complete,
        date_of(row.day),
        row.total_cents,
    )


def member_arrays(members: Collection[Member], timelines: Mapping[int, Timeline]) -> tuple[Any, ...]:
    """The values that `update_members` takes; members without a new timeline keep theirs."""
    days = [member.purchase_days for member in members]
    return (
        numbers([member.account_no for member in members]),
        numbers([member.events for member in members]),
        numbers([member.waiting_returns for member in members]),
        [encode(member.levels) for member in members],
        [_timeline_json(timelines.get(member.account_no)) for member in members],
        numbers([each.first_event_day for each in days]),
        numbers([each.last_purchase_day for each in days]),
        numbers([each.last_return_day for each in days]),
        lists([each.days for each in days]),
        lists([each.kept_cents for each in days]),
        lists([each.months() for each in days]),
    )


def _timeline_json(timeline: Timeline | None) -> str | None:
    return None if timeline is None else _to_json(steps_to_json(timeline))


def key_arrays(keys: Collection[Key]) -> tuple[str, str]:
    """Business keys as two arrays."""
    return numbers([account_no for account_no, _ in keys]), texts([key for _, key in keys])


def columns(records: Iterable[tuple[Any, ...]], width: int) -> list[list[Any]]:
    """Records turned into `width` arrays for unnest."""
    turned = [list(column) for column in zip(*records, strict=True)]
    return turned or [[] for _ in range(width)]


def _to_json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
