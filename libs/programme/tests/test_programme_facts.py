"""The gate: which events are accepted, what becomes of them, and that nothing else ever comes out of it."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from programme.facts import PURCHASE_COMPLETED, PURCHASE_RETURNED, Purchase, Refused, Return, accept
from programme.instants import parse_instant

RECEIVED_US = parse_instant("2026-11-22T12:00:00Z")
TEN_MINUTES_US = 600_000_000
VOUCHER = "0123456789abcdef" * 2
MISSING = object()

PURCHASE: dict[str, Any] = {
    "purchase_id": "s0367-t02-20261122-000184",
    "member_id": "M0001234",
    "occurred_at": "2026-11-22T10:15:30+01:00",
    "channel": "pos",
    "store_id": "0367",
    "till_id": "02",
    "currency": "EUR",
    "lines": [
        {"line": 1, "sku": "995242", "product_class": "food", "quantity": 2, "amount_cents": 398},
        {"line": 2, "sku": "pfand", "product_class": "deposit", "quantity": 2, "amount_cents": 50},
    ],
    "vouchers": [VOUCHER],
}
RETURN: dict[str, Any] = {
    "return_id": "s0367-t02-20261124-000071",
    "purchase_id": "s0367-t02-20261122-000184",
    "member_id": "M0001234",
    "occurred_at": "2026-11-22T11:03:00+01:00",
    "lines": [{"line": 1, "product_class": "food", "quantity": 1, "amount_cents": 199}],
    "complete": False,
}


def changed(event: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {name: value for name, value in {**event, **changes}.items() if value is not MISSING}


def lines(*amounts: int, product_class: str = "goods") -> list[dict[str, Any]]:
    return [{"product_class": product_class, "amount_cents": amount} for amount in amounts]


def hear(event: Any, key: bytes | None = b"M0001234", received_us: int = RECEIVED_US) -> Purchase | Return | None:
    is_return = isinstance(event, dict) and "return_id" in event
    event_type = PURCHASE_RETURNED if is_return else PURCHASE_COMPLETED
    return accept(event_type, event if isinstance(event, bytes) else json.dumps(event).encode(), key, received_us)


def test_a_purchase_is_kept_as_cents_by_class() -> None:
    assert hear(PURCHASE) == Purchase(
        member_id="M0001234",
        purchase_id="s0367-t02-20261122-000184",
        occurred_us=parse_instant("2026-11-22T09:15:30Z"),
        cents_by_class={"deposit": 50, "food": 398},
        vouchers=(VOUCHER,),
    )


def test_a_return_is_kept_as_cents_by_class() -> None:
    assert hear(RETURN) == Return(
        member_id="M0001234",
        return_id="s0367-t02-20261124-000071",
        purchase_id="s0367-t02-20261122-000184",
        occurred_us=parse_instant("2026-11-22T10:03:00Z"),
        cents_by_class={"food": 199},
        complete=False,
    )


@pytest.mark.parametrize(
    "repeat",
    [
        changed(PURCHASE, occurred_at="2026-11-22T09:15:30.000Z"),
        changed(PURCHASE, channel="webshop", store_id=7, till_id=MISSING, note="another field"),
        changed(PURCHASE, lines=PURCHASE["lines"][::-1]),
        changed(PURCHASE, lines=[*PURCHASE["lines"], *lines(100, -100, 0)]),
        changed(PURCHASE, vouchers=[VOUCHER, VOUCHER]),
    ],
    ids=["offset", "unknown fields", "order of lines", "classes without cents", "voucher twice"],
)
def test_the_same_content_is_a_repeat_however_it_is_written(repeat: dict[str, Any]) -> None:
    assert hear(repeat) == hear(PURCHASE)


@pytest.mark.parametrize(
    "conflict",
    [
        changed(PURCHASE, occurred_at="2026-11-22T09:15:30.000001Z"),
        changed(PURCHASE, lines=lines(448)),
        changed(PURCHASE, vouchers=[]),
        changed(RETURN, complete=True),
        changed(RETURN, purchase_id="other"),
    ],
    ids=["instant", "classes", "vouchers", "complete", "purchase"],
)
def test_other_content_is_a_conflict(conflict: dict[str, Any]) -> None:
    assert hear(conflict) not in (hear(PURCHASE), hear(RETURN))


@pytest.mark.parametrize(
    "event",
    [
        changed(PURCHASE, lines=[]),
        changed(PURCHASE, lines=lines(-825)),
        changed(PURCHASE, lines=lines(*[1] * 1000)),
        changed(PURCHASE, lines=lines(500_000_000, -499_999_999)),
        changed(PURCHASE, vouchers=[f"{number:032x}" for number in range(20)]),
        changed(PURCHASE, vouchers=MISSING),
        changed(PURCHASE, purchase_id="x" * 64),
        changed(PURCHASE, occurred_at="2099-12-31T23:59:59-12:00"),
        changed(PURCHASE, occurred_at="2000-01-01T00:00:00+12:00"),
        changed(PURCHASE, lines=lines(1, product_class="a" * 32)),
        changed(RETURN, complete=True, lines=[]),
        changed(RETURN, complete=True, lines=MISSING),
        changed(RETURN, lines=lines(0)),
        changed(RETURN, currency="EUR"),
    ],
)
def test_the_bounds_themselves_are_accepted(event: dict[str, Any]) -> None:
    assert hear(event, received_us=parse_instant("2100-06-01T00:00:00Z")) is not None


@pytest.mark.parametrize("event", [PURCHASE, RETURN])
@pytest.mark.parametrize("member_id", [None, MISSING])
@pytest.mark.parametrize("key", [None, b"anything"])
def test_without_a_member_it_is_no_club_purchase(event: dict[str, Any], member_id: Any, key: bytes | None) -> None:
    assert hear(changed(event, member_id=member_id), key) is None
    assert hear(changed(event, member_id=member_id, occurred_at=7, currency="USD"), key) is None


REFUSED = [
    ("not_json", b""),
    ("not_json", b"{"),
    ("not_json", b"\xef\xbb\xbf{}"),
    ("not_json", json.dumps(PURCHASE).encode() + b"x"),
    ("not_json", json.dumps(PURCHASE).encode("utf-16")),
    ("not_json", json.dumps(PURCHASE).replace("pos", "\udcff").encode("utf-8", "surrogateescape")),
    ("not_json", json.dumps(PURCHASE).replace('"pos"', "NaN").encode()),
    ("not_json", json.dumps(changed(PURCHASE, extra=[[]])).replace("[[]]", "[" * 200 + "]" * 200).encode()),
    ("not_json", b"[" * 1_000_000),
    ("not_json", b'{"lines": ' + b'{"a":' * 200_000),
    ("not_json", b'"' + b'\\"' * 500_000 + b"[" * 300),
    ("too_large", json.dumps(changed(PURCHASE, note="x" * 2**20)).encode()),
    ("invalid_structure", b"[]"),
    ("invalid_structure", b"null"),
    ("invalid_structure", b'"purchase"'),
    ("invalid_structure", changed(PURCHASE, purchase_id=MISSING)),
    ("invalid_structure", changed(PURCHASE, occurred_at=MISSING)),
    ("invalid_structure", changed(PURCHASE, lines=MISSING)),
    ("invalid_structure", changed(PURCHASE, lines=None)),
    ("invalid_structure", changed(PURCHASE, lines=[None])),
    ("invalid_structure", changed(PURCHASE, lines=[{"product_class": "goods"}])),
    ("invalid_structure", changed(PURCHASE, lines=[{"amount_cents": 1}])),
    ("invalid_structure", changed(PURCHASE, lines=[{"product_class": "goods", "amount_cents": 1.0}])),
    ("invalid_structure", changed(PURCHASE, lines=[{"product_class": "goods", "amount_cents": True}])),
    ("invalid_structure", changed(PURCHASE, lines=[{"product_class": "goods", "amount_cents": "1"}])),
    ("invalid_structure", changed(PURCHASE, lines=[{"product_class": "goods", "amount_cents": None}])),
    ("invalid_structure", json.dumps(PURCHASE).replace("398", "1" * 10_000).encode()),
    ("invalid_structure", json.dumps(PURCHASE).replace("398", "1e2").encode()),
    ("invalid_structure", changed(PURCHASE, member_id=7)),
    ("invalid_structure", changed(PURCHASE, currency=MISSING)),
    ("invalid_structure", changed(PURCHASE, vouchers=None)),
    ("invalid_structure", changed(RETURN, complete="yes")),
    ("invalid_structure", changed(RETURN, complete=1)),
    ("invalid_id", changed(PURCHASE, member_id="")),
    ("invalid_id", changed(PURCHASE, member_id="m" * 41)),
    ("invalid_id", changed(PURCHASE, member_id="M1\n")),
    ("invalid_id", changed(PURCHASE, member_id="anna@example.org")),
    ("invalid_id", changed(PURCHASE, purchase_id="")),
    ("invalid_id", changed(PURCHASE, purchase_id="p" * 65)),
    ("invalid_id", changed(PURCHASE, purchase_id="p" * 10_000)),
    ("invalid_id", changed(PURCHASE, purchase_id="p 1")),
    ("invalid_id", changed(PURCHASE, purchase_id="'; drop table purchase; --")),
    ("invalid_id", changed(PURCHASE, purchase_id="\N{PARTY POPPER}")),
    ("invalid_id", changed(RETURN, return_id="r\0")),
    ("invalid_id", changed(RETURN, purchase_id="p/1")),
    ("key_mismatch", changed(PURCHASE, member_id="M1")),
    ("invalid_instant", changed(PURCHASE, occurred_at="2026-11-22T10:15:30")),
    ("invalid_instant", changed(PURCHASE, occurred_at="2026-11-22T10:15:30.1234567Z")),
    ("invalid_instant", changed(PURCHASE, occurred_at="1999-12-31T23:59:59Z")),
    ("invalid_instant", changed(PURCHASE, occurred_at="2100-01-01T00:00:00Z")),
    ("invalid_instant", changed(PURCHASE, occurred_at="20260-01-01T00:00:00Z")),
    ("in_the_future", changed(PURCHASE, occurred_at="2026-11-22T12:10:00.000001Z")),
    ("unsupported_currency", changed(PURCHASE, currency="USD")),
    ("unsupported_currency", changed(RETURN, currency="eur")),
    ("too_many_lines", changed(PURCHASE, lines=lines(*[1] * 1001))),
    ("no_lines", changed(RETURN, lines=[])),
    ("no_lines", changed(RETURN, lines=MISSING)),
    ("negative_amount", changed(RETURN, lines=lines(5, -1))),
    ("amounts_too_large", changed(PURCHASE, lines=lines(10**9))),
    ("amounts_too_large", changed(PURCHASE, lines=lines(500_000_000, -500_000_000))),
    ("amounts_too_large", changed(PURCHASE, lines=lines(10**30))),
    ("amounts_too_large", changed(RETURN, lines=lines(10**9))),
    ("invalid_product_class", changed(PURCHASE, lines=lines(1, product_class=""))),
    ("invalid_product_class", changed(PURCHASE, lines=lines(1, product_class="Goods"))),
    ("invalid_product_class", changed(PURCHASE, lines=lines(0, product_class="g" * 33))),
    ("invalid_product_class", changed(RETURN, lines=lines(1, product_class="goods\n"))),
    ("too_many_vouchers", changed(PURCHASE, vouchers=[VOUCHER] * 21)),
    ("invalid_voucher", changed(PURCHASE, vouchers=["0123456789ABCDEF" * 2])),
    ("invalid_voucher", changed(PURCHASE, vouchers=[VOUCHER + "0"])),
]


@pytest.mark.parametrize(
    ("reason", "event"), REFUSED, ids=[f"{number}-{case[0]}" for number, case in enumerate(REFUSED)]
)
def test_anything_else_is_refused_with_a_stable_reason(reason: str, event: Any) -> None:
    with pytest.raises(Refused) as refused:
        hear(event)
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("field", "event"),
    [
        ("occurred_at", changed(PURCHASE, occurred_at=MISSING)),
        (
            "$.lines[1].amount_cents",
            changed(PURCHASE, lines=[*lines(1), {"product_class": "food", "amount_cents": "1"}]),
        ),
        ("purchase_id: ", changed(PURCHASE, purchase_id="")),
        ("return_id: ", changed(RETURN, return_id="")),
        ("occurred_at: ", changed(PURCHASE, occurred_at="soon")),
        ("lines: product_class", changed(PURCHASE, lines=lines(1, product_class="?"))),
    ],
)
def test_the_detail_names_the_field(field: str, event: dict[str, Any]) -> None:
    with pytest.raises(Refused) as refused:
        hear(event)
    assert field in refused.value.detail


@pytest.mark.parametrize("key", [None, b"", b"M000123", b"M0001234 ", b"m0001234", b"\xff"])
def test_the_key_of_the_record_is_the_member(key: bytes | None) -> None:
    with pytest.raises(Refused, match="key_mismatch"):
        hear(PURCHASE, key)


def test_a_till_clock_may_be_ten_minutes_ahead_of_the_record() -> None:
    occurred_us = parse_instant(PURCHASE["occurred_at"])
    assert hear(PURCHASE, received_us=occurred_us - TEN_MINUTES_US) is not None
    with pytest.raises(Refused, match="in_the_future"):
        hear(PURCHASE, received_us=occurred_us - TEN_MINUTES_US - 1)


def test_an_unknown_type_is_refused() -> None:
    with pytest.raises(Refused, match="unknown_type"):
        accept("kundenclub.purchase.completed.v2", json.dumps(PURCHASE).encode(), b"M0001234", RECEIVED_US)


def test_no_value_of_an_event_is_repeated_in_the_reason() -> None:
    """Reasons go to logs and screens; an id may be somebody's e-mail address."""
    with pytest.raises(Refused) as refused:
        hear(changed(PURCHASE, member_id="anna@example.org"), b"anna@example.org")
    assert "anna" not in str(refused.value)


def test_of_a_json_key_that_occurs_twice_the_last_one_counts() -> None:
    twice = json.dumps(PURCHASE).replace("{", '{"purchase_id": "first", ', 1).encode()
    assert hear(twice) == hear(PURCHASE)


def test_depth_is_counted_outside_strings_only() -> None:
    brackets = changed(PURCHASE, note="[" * 300 + '\\"' + "{" * 300)
    assert hear(brackets) == hear(PURCHASE)
    flat = changed(PURCHASE, notes=[[]] * 300)
    assert hear(flat) == hear(PURCHASE)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from([PURCHASE, RETURN]), st.data())
def test_whatever_a_field_holds_it_is_accepted_or_refused(event: dict[str, Any], data: st.DataObject) -> None:
    field = data.draw(st.sampled_from(sorted(event)))
    value = data.draw(
        json_values | st.lists(st.fixed_dictionaries({"product_class": json_values, "amount_cents": json_values}))
    )
    try:
        accepted = hear({**event, field: value})
    except Refused:
        return
    assert accepted is None or isinstance(accepted, Purchase | Return)


@given(st.sampled_from([PURCHASE, RETURN]), st.data())
def test_whatever_bytes_arrive_they_are_accepted_or_refused(event: dict[str, Any], data: st.DataObject) -> None:
    good = json.dumps(event).encode()
    cut, resume = (data.draw(st.integers(0, len(good))) for _ in range(2))
    mangled = good[:cut] + data.draw(st.binary(max_size=8)) + good[resume:]
    event_type = data.draw(st.sampled_from([PURCHASE_COMPLETED, PURCHASE_RETURNED]))
    with suppress(Refused):
        accept(event_type, mangled, data.draw(st.none() | st.binary(max_size=10)), RECEIVED_US)


@given(st.text())
def test_ids_that_are_accepted_are_plain(text: str) -> None:
    try:
        accepted = hear(changed(PURCHASE, purchase_id=text))
    except Refused:
        return
    assert isinstance(accepted, Purchase)
    assert accepted.purchase_id.isascii()
    assert accepted.purchase_id.isprintable()
