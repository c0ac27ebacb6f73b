"""What the services answer. Instants are aware datetimes, money is integer euro cents.

Each has the fields a checkout needs; the OpenAPI documents have them all, and new ones may come at any time.
"""

from datetime import datetime
from typing import Generic, TypeVar

import msgspec


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """The base of all of them: immutable, unknown fields are passed over."""


class Joined(Result, frozen=True, kw_only=True):
    """A member of the club."""

    member_id: str
    joined_at: datetime


class ExpiringPoints(Result, frozen=True, kw_only=True):
    """Points that are lost at `at` unless they are spent before."""

    points: int
    at: datetime


class OpenVoucher(Result, frozen=True, kw_only=True):
    """A voucher that can still be used, without its code."""

    voucher_id: str
    value_cents: int
    valid_until: datetime


class Member(Result, frozen=True, kw_only=True):
    """A member's account. `balance_points` is below zero after a return of points already spent."""

    member_id: str
    joined_at: datetime | None
    balance_points: int
    level: str
    bonus_percent: int
    points_to_next_voucher: int | None
    expiring_next: ExpiringPoints | None
    open_vouchers: list[OpenVoucher]


class Cause(Result, frozen=True, kw_only=True):
    """What an entry follows from; `text` is for people."""

    kind: str
    id: str | None
    text: str


class Entry(Result, frozen=True, kw_only=True):
    """One ledger entry; `points` is added to the balance."""

    entry_no: int
    posted_at: datetime
    kind: str
    points: int
    purchase_id: str | None
    cause: Cause


class Points(Result, frozen=True, kw_only=True):
    """`total` is `base` and `bonus`."""

    base: int
    bonus: int
    total: int


class Purchase(Result, frozen=True, kw_only=True):
    """What a purchase is worth now, and the entries posted for it."""

    purchase_id: str
    occurred_at: datetime
    eligible_cents: int
    remaining_cents: int
    bonus_percent: int
    points: Points
    vouchers: list[str]
    entries: list[Entry]


class Voucher(Result, frozen=True, kw_only=True):
    """A voucher as a checkout may see it; it can be used before `valid_until`, by whom it is `open` for."""

    voucher_id: str
    state: str
    value_cents: int
    valid_until: datetime
    pays_not_for: list[str]
    redeemed_at: datetime | None
    reserved_until: datetime | None


class OwnVoucher(Voucher, frozen=True, kw_only=True):
    """A voucher as its owner may see it; `code` is None unless it can still be used."""

    code: str | None
    issued_at: datetime
    points: int


class Refusal(Result, frozen=True, kw_only=True):
    """Why a voucher could not be redeemed; `code` is that of the error there would be."""

    code: str
    title: str
    detail: str


class QuotedVoucher(Result, frozen=True, kw_only=True):
    """Whether a voucher could be redeemed for the basket now."""

    usable: bool
    refusal: Refusal | None
    voucher: Voucher


class Quote(Result, frozen=True, kw_only=True):
    """What a basket would earn; nothing is promised."""

    level: str
    bonus_percent: int
    eligible_cents: int
    points: Points
    voucher: QuotedVoucher | None


class IssuedVoucher(Result, frozen=True, kw_only=True, tag_field="kind", tag="voucher"):
    """A new voucher; only its owner should see `code`."""

    voucher_id: str
    code: str
    value_cents: int
    points: int
    valid_until: datetime
    balance_points: int


class OrderedProduct(Result, frozen=True, kw_only=True, tag_field="kind", tag="product"):
    """A product that points paid for."""

    order_id: str
    sku: str
    name: str
    points: int
    ordered_at: datetime
    balance_points: int


class OfferedReward(Result, frozen=True, kw_only=True):
    """Something points buy now."""

    reward: str
    kind: str
    points: int
    name: str | None
    value_cents: int | None


class Catalogue(Result, frozen=True, kw_only=True):
    """All rewards there are now, the cheapest first."""

    items: list[OfferedReward]


class Adjustment(Result, frozen=True, kw_only=True):
    """Points that staff gave or took; it counts once `state` is "posted"."""

    adjustment_id: int
    member_id: str
    points: int
    reason: str
    state: str


class Slot(Result, frozen=True, kw_only=True):
    """An appointment of a consultation."""

    slot_no: int
    starts_at: datetime
    ends_at: datetime
    label: str
    is_free: bool


class Offer(Result, frozen=True, kw_only=True):
    """A benefit for members from `least_level` on, before `closes_at`. `capacity` None: no limit, or slots."""

    offer_id: int
    kind: str
    title: str
    description: str
    least_level: str
    opens_at: datetime
    closes_at: datetime
    capacity: int | None
    claimed: int
    slots: list[Slot]


class Claim(Result, frozen=True, kw_only=True):
    """A seat, slot or discount a member has, unless it was cancelled."""

    claim_no: int
    offer_id: int
    member_id: str | None
    slot_no: int | None
    level: str
    claimed_at: datetime
    cancelled_at: datetime | None


class Consent(Result, frozen=True, kw_only=True):
    """The decision that counts for a channel, and where the member said so."""

    channel: str
    granted: bool
    source: str
    decided_at: datetime


class Consents(Result, frozen=True, kw_only=True):
    """Every channel the member decided about; one that is missing is one without consent."""

    member_id: str
    consents: list[Consent]


class Step(Result, frozen=True, kw_only=True):
    """`level` holds for purchases strictly later than `after`."""

    after: datetime | None
    level: str


class Status(Result, frozen=True, kw_only=True):
    """A member's level and the way to the next one."""

    member_id: str
    level: str
    since: datetime | None
    held_until: datetime | None
    collected_points: int
    next_level: str | None
    points_to_next_level: int | None
    points_to_keep_level: int | None
    timeline: list[Step]


Item = TypeVar("Item")


class Page(Result, Generic[Item], frozen=True, kw_only=True):
    """A part of a list; `next_cursor` is None on the last one."""

    items: list[Item]
    next_cursor: str | None
