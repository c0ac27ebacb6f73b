"""What a purchase event is and which ones are accepted (rules 3.1, 3.7).

`accept` is the only gate: both services, every rebuild and every retry of a dead letter pass through it, and it
looks at nothing but the record (its data, its key, its timestamp). So all of them refuse the same events for the
same reasons, whenever they run.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any, TypeVar

import msgspec

from programme.instants import MINUTE_US, parse_instant

PURCHASE_COMPLETED = "kundenclub.purchase.completed.v1"
PURCHASE_RETURNED = "kundenclub.purchase.returned.v1"

MAX_EVENT_BYTES = 1_048_576
MAX_DEPTH = 200
MAX_LINES = 1_000
MAX_VOUCHERS = 20
AMOUNTS_BELOW_CENTS = 1_000_000_000
CLOCK_TOLERANCE_US = 10 * MINUTE_US

MEMBER_ID = re.compile(r"[A-Za-z0-9_-]{1,40}")
BUSINESS_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
MAX_CLASS_LENGTH = 32
PRODUCT_CLASS = re.compile(r"[a-z0-9_]{1,32}")
VOUCHER_ID = re.compile(r"[0-9a-f]{32}")

_T = TypeVar("_T")
_W = TypeVar("_W", bound="_Wire")


class Refused(ValueError):
    """An event that cannot ever work. `reason` is a stable code; `detail` names the field, never its value."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class Purchase(msgspec.Struct, frozen=True):
    """A purchase as the rules see it. Under one business key, equal is a repeat, unequal a conflict (rules 3.7)."""

    member_id: str
    purchase_id: str
    occurred_us: int
    cents_by_class: dict[str, int]
    """No zeros, keys ascending."""
    vouchers: tuple[str, ...]
    """Ascending, distinct."""


class Return(msgspec.Struct, frozen=True):
    """Goods of one purchase given back. A complete one leaves nothing of it, whatever the sums say (rules 3.3)."""

    member_id: str
    return_id: str
    purchase_id: str
    occurred_us: int
    cents_by_class: dict[str, int]
    complete: bool


def accept(event_type: str, data: bytes, key: bytes | None, received_us: int) -> Purchase | Return | None:
    """Read the data of a purchase event. None: nobody's card was shown. Raises Refused, and nothing else.

    `key` is the record's key, which must be the member_id. `received_us` is the record's own timestamp, the "now"
    of the check against till clocks that run ahead. Where a JSON key occurs twice, both values must be valid and the
    last one counts.
    """
    if event_type == PURCHASE_COMPLETED:
        purchase = _decode(_PURCHASE, data, key)
        return None if purchase is None else _accept_purchase(purchase, received_us)
    if event_type == PURCHASE_RETURNED:
        returned = _decode(_RETURN, data, key)
        return None if returned is None else _accept_return(returned, received_us)
    raise Refused("unknown_type", "type: neither a purchase nor a return")


def decode_json(decoder: msgspec.json.Decoder[_T], data: bytes) -> _T:
    """Decode strict UTF-8 JSON of bounded size and depth. Raises Refused, and nothing else."""
    if len(data) > MAX_EVENT_BYTES:
        raise Refused("too_large", f"data: more than {MAX_EVENT_BYTES} bytes")
    try:
        # msgspec does not look into strings it skips; the text must be valid as a whole.
        text = data.decode()
        _check_depth(text)
        return decoder.decode(text)
    except msgspec.ValidationError as error:
        raise Refused("invalid_structure", str(error)) from None
    except (UnicodeDecodeError, msgspec.DecodeError):
        raise Refused("not_json", "data: not JSON in UTF-8") from None


def require_member(member_id: str, key: bytes | None) -> None:
    """Check a member_id and that the record's key is the same. Raises Refused."""
    _require(MEMBER_ID, member_id, "invalid_id", "member_id")
    if key != member_id.encode():
        raise Refused("key_mismatch", "key: the record's key is not the member_id")


class _Line(msgspec.Struct, gc=False):
    product_class: str
    amount_cents: int


class _Wire(msgspec.Struct):
    member_id: str


class _WirePurchase(_Wire, kw_only=True):
    purchase_id: str
    occurred_at: str
    currency: str
    lines: list[_Line]
    vouchers: list[str] = []


class _WireReturn(_Wire, kw_only=True):
    return_id: str
    purchase_id: str
    occurred_at: str
    currency: str = "EUR"
    lines: list[_Line] = []
    complete: bool = False


_PURCHASE = msgspec.json.Decoder(_WirePurchase)
_RETURN = msgspec.json.Decoder(_WireReturn)
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ANY = msgspec.json.Decoder(dict[str, Any])
_BRACKET = re.compile(r'(?:[^"\[\]{}]++|"(?:[^"\\]++|\\.)*+"?)*+([\[\]{}]|\Z)', re.DOTALL)
"""The next bracket outside strings, or the end. Possessive throughout: no text takes more than linear time."""
_NESTING = {"[": 1, "{": 1, "]": -1, "}": -1, "": 0}


def _decode(decoder: msgspec.json.Decoder[_W], data: bytes, key: bytes | None) -> _W | None:
    """The event, or None if it names no member: whatever else is in it is then none of our business."""
    try:
        wire = decode_json(decoder, data)
    except Refused as refused:
        if refused.reason == "invalid_structure" and _names_no_member(data):
            return None
        raise
    require_member(wire.member_id, key)
    return wire


def may_name_member(data: bytes, member_id: str) -> bool:
    """Whether an event's data, or the data within a whole event, names this member; true of what cannot be read."""
    try:
        fields = _ANY.decode(data)
        inner = fields.get("data")
        named = [fields.get("member_id"), inner.get("member_id") if isinstance(inner, dict) else None]
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return True
    return member_id in named


def _names_no_member(data: bytes) -> bool:
    try:
        fields = _FIELDS.decode(data)
    except msgspec.DecodeError:
        return False
    return bytes(fields.get("member_id", b"null")) == b"null"


def _check_depth(text: str) -> None:
    """How deep the decoder could go depends on its caller's stack, so a fixed bound decides before it."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    if max(accumulate(map(_NESTING.__getitem__, _BRACKET.findall(text)))) > MAX_DEPTH:
        raise Refused("not_json", f"data: nested more than {MAX_DEPTH} levels deep")


def _accept_purchase(wire: _WirePurchase, received_us: int) -> Purchase:
    _require(BUSINESS_ID, wire.purchase_id, "invalid_id", "purchase_id")
    occurred_us = _occurred(wire.occurred_at, received_us)
    _check_currency(wire.currency)
    cents = _cents_by_class(wire.lines)
    return Purchase(wire.member_id, wire.purchase_id, occurred_us, cents, _vouchers(wire.vouchers))


def _accept_return(wire: _WireReturn, received_us: int) -> Return:
    _require(BUSINESS_ID, wire.return_id, "invalid_id", "return_id")
    _require(BUSINESS_ID, wire.purchase_id, "invalid_id", "purchase_id")
    occurred_us = _occurred(wire.occurred_at, received_us)
    _check_currency(wire.currency)
    if not wire.lines and not wire.complete:
        raise Refused("no_lines", "lines: only a complete return may have none")
    if any(line.amount_cents < 0 for line in wire.lines):
        raise Refused("negative_amount", "lines: amount_cents of a return is not negative")
    cents = _cents_by_class(wire.lines)
    return Return(wire.member_id, wire.return_id, wire.purchase_id, occurred_us, cents, wire.complete)


def _occurred(text: str, received_us: int) -> int:
    if not text.startswith("20"):
        raise Refused("invalid_instant", "occurred_at: the year must be 2000 to 2099")
    try:
        occurred_us = parse_instant(text)
    except ValueError as error:
        raise Refused("invalid_instant", f"occurred_at: {error}") from None
    if occurred_us > received_us + CLOCK_TOLERANCE_US:
        raise Refused("in_the_future", "occurred_at: more than 10 minutes after the record's timestamp")
    return occurred_us


def _check_currency(currency: str) -> None:
    if currency != "EUR":
        raise Refused("unsupported_currency", "currency: must be EUR")


def _cents_by_class(lines: Sequence[_Line]) -> dict[str, int]:
    if len(lines) > MAX_LINES:
        raise Refused("too_many_lines", f"lines: more than {MAX_LINES}")
    cents: dict[str, int] = {}
    total = 0
    for line in lines:
        amount, name = line.amount_cents, line.product_class
        total += abs(amount)
        cents[name] = cents.get(name, 0) + amount
    if total >= AMOUNTS_BELOW_CENTS:
        raise Refused("amounts_too_large", f"lines: amount_cents must add up to less than {AMOUNTS_BELOW_CENTS}")
    for name in cents:
        if len(name) > MAX_CLASS_LENGTH or not _is_product_class(name):
            raise Refused("invalid_product_class", f"lines: product_class: must match {PRODUCT_CLASS.pattern}")
    return {name: cents[name] for name in sorted(cents) if cents[name]}


@lru_cache(maxsize=1_024)
def _is_product_class(name: str) -> bool:
    """A retailer has a few dozen classes, and every line names one. Never asked for long texts, which it would keep."""
    return PRODUCT_CLASS.fullmatch(name) is not None


def _vouchers(voucher_ids: Sequence[str]) -> tuple[str, ...]:
    if not voucher_ids:
        return ()
    if len(voucher_ids) > MAX_VOUCHERS:
        raise Refused("too_many_vouchers", f"vouchers: more than {MAX_VOUCHERS}")
    for voucher_id in voucher_ids:
        _require(VOUCHER_ID, voucher_id, "invalid_voucher", "vouchers")
    return tuple(sorted(set(voucher_ids)))


def _require(pattern: re.Pattern[str], text: str, reason: str, field: str) -> None:
    if not pattern.fullmatch(text):
        raise Refused(reason, f"{field}: must match {pattern.pattern}")
