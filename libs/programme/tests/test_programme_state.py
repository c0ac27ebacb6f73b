"""The state as a function of the set of events, and the edge cases that broke other loyalty systems."""

import json
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from programme.calendar import midnight_us
from programme.digest import digest
from programme.facts import Purchase, Return
from programme.instants import parse_instant
from programme.state import MemberState, state_of
from programme.terms import Programme, parse_programme

TOML = (Path(__file__).parents[3] / "contracts" / "programme.toml").read_text(encoding="utf-8")
PROGRAMME = parse_programme(TOML)
NOW_US = parse_instant("2026-11-22T00:00:00Z")
numbers = count()


def bought(cents: int, at: str, purchase_id: str = "", product_class: str = "goods", member_id: str = "M1") -> Purchase:
    purchase_id = purchase_id or f"p{next(numbers)}"
    return Purchase(member_id, purchase_id, parse_instant(at), {product_class: cents} if cents else {}, ())


def gave_back(
    cents: int, of: str, at: str, return_id: str = "", complete: bool = False, member_id: str = "M1"
) -> Return:
    return_id = return_id or f"r{next(numbers)}"
    return Return(member_id, return_id, of, parse_instant(at), {"goods": cents} if cents else {}, complete)


def of_one(*events: Purchase | Return, programme: Programme = PROGRAMME, at_us: int = NOW_US) -> MemberState:
    (forwards,) = state_of(programme, events, at_us)
    (backwards,) = state_of(programme, events[::-1], at_us)
    assert forwards == backwards
    return forwards


def test_the_digest_is_one_line_a_purchase_sorted_by_id() -> None:
    lines = b"p1 2190 0\np10 5 10\np2 0 20\n"
    assert digest([("p2", 0, 20), ("p10", 5, 10), ("p1", 2190, 0)]) == sha256(lines).hexdigest()
    assert digest([]) == sha256(b"").hexdigest()


def test_same_event_twice_does_nothing() -> None:
    purchase = bought(2190, "2026-01-10T10:00:00Z")
    assert of_one(purchase, purchase, purchase) == of_one(purchase)


def test_same_purchase_id_other_content_the_first_stays() -> None:
    first, other = bought(2190, "2026-01-10T10:00:00Z", "p1"), bought(9900, "2026-01-10T10:00:00Z", "p1")
    assert [state.earned for state in state_of(PROGRAMME, [first, other], NOW_US)] == [21]
    assert [state.earned for state in state_of(PROGRAMME, [other, first], NOW_US)] == [99]


def test_same_return_id_other_content_the_first_stays() -> None:
    purchase = bought(10_000, "2026-01-10T10:00:00Z", "p1")
    first = gave_back(1_000, "p1", "2026-01-11T10:00:00Z", "r1")
    other = gave_back(5_000, "p1", "2026-01-11T10:00:00Z", "r1")
    assert [state.earned for state in state_of(PROGRAMME, [purchase, first, other], NOW_US)] == [90]


def test_return_before_its_purchase_waits() -> None:
    waiting = gave_back(2_000, "p1", "2026-01-11T10:00:00Z")
    (alone,) = state_of(PROGRAMME, [waiting], NOW_US)
    assert (alone.member_id, alone.purchases, alone.earned, alone.level) == ("M1", 0, 0, "basis")
    assert of_one(waiting, bought(10_000, "2026-01-10T10:00:00Z", "p1")).earned == 80


def test_late_purchase_re_rates_later_ones() -> None:
    later = bought(10_000, "2026-02-01T10:00:00Z")
    late = bought(100_000, "2026-01-10T10:00:00Z")
    assert (of_one(later).earned, of_one(later, late).earned) == (100, 1_000 + 110)


def test_late_return_lowers_a_level_from_its_own_instant_on_only() -> None:
    state = of_one(
        bought(100_000, "2026-01-10T10:00:00Z", "p1"),
        bought(10_000, "2026-02-01T10:00:00Z"),
        gave_back(100_000, "p1", "2026-02-02T10:00:00Z"),
        bought(10_000, "2026-02-03T10:00:00Z"),
    )
    assert (state.earned, state.bonus) == (110 + 100, 10)


def test_two_purchases_at_the_same_instant_get_the_same_rate() -> None:
    at = "2026-01-10T10:00:00Z"
    assert of_one(bought(100_000, at), bought(100_000, at)).bonus == 0


def test_22_partial_returns_of_99_cents_take_21_points_back() -> None:
    purchase = bought(2190, "2026-01-10T10:00:00Z", "p1")
    returns = [gave_back(99, "p1", f"2026-02-{day:02}T10:00:00Z") for day in range(1, 23)]
    assert of_one(purchase, *returns).earned == 0


def test_a_basket_paid_wholly_by_a_voucher_is_not_completely_returned() -> None:
    """It is a purchase like any other, worth nothing; it prolongs no level."""
    state = of_one(bought(100_000, "2025-01-10T10:00:00Z"), bought(0, "2025-12-10T10:00:00Z"))
    assert (state.purchases, state.level) == (2, "basis")


def test_complete_return_leaves_nothing_whatever_the_sums_say() -> None:
    state = of_one(
        bought(10_000, "2026-01-10T10:00:00Z", "p1"),
        gave_back(0, "p1", "2026-01-11T10:00:00Z", complete=True),
        gave_back(10, "p1", "2026-01-12T10:00:00Z"),
    )
    assert (state.purchases, state.earned, state.digest) == (1, 0, digest([("p1", 0, 0)]))


def test_return_under_another_members_card_waits_for_ever() -> None:
    states = state_of(
        PROGRAMME,
        [
            bought(10_000, "2026-01-10T10:00:00Z", "p1"),
            gave_back(10_000, "p1", "2026-01-11T10:00:00Z", member_id="M2"),
        ],
        NOW_US,
    )
    assert [(state.member_id, state.purchases, state.earned) for state in states] == [("M1", 1, 100), ("M2", 0, 0)]


def test_same_receipt_sent_under_two_cards_counts_for_both() -> None:
    receipt = bought(10_000, "2026-01-10T10:00:00Z", "p1")
    states = state_of(PROGRAMME, [receipt, msgspec.structs.replace(receipt, member_id="M2")], NOW_US)
    assert [state.earned for state in states] == [100, 100]


def test_more_returned_than_bought_takes_back_what_was_bought() -> None:
    purchase = bought(10_000, "2026-01-10T10:00:00Z", "p1")
    assert of_one(purchase, gave_back(90_000, "p1", "2026-01-11T10:00:00Z")).earned == 0


def test_terms_changed_between_purchase_and_return_are_those_of_the_purchase() -> None:
    second = TOML[TOML.rindex("[[terms]]") :].replace("2000-01-01", "2026-02-01").replace('"goods", ', "")
    programme = parse_programme(TOML + second)
    purchase = bought(10_000, "2026-01-10T10:00:00Z", "p1")
    ret = gave_back(4_000, "p1", "2026-03-01T10:00:00Z")
    after = bought(10_000, "2026-03-01T10:00:00Z")
    assert of_one(purchase, ret, after, programme=programme).earned == 60


def test_members_come_in_the_order_of_their_bytes() -> None:
    ids = ["a", "B", "10", "1", "_", "-"]
    events = [bought(100, "2026-01-10T10:00:00Z", member_id=member_id) for member_id in ids]
    assert [state.member_id for state in state_of(PROGRAMME, events, NOW_US)] == ["-", "1", "10", "B", "_", "a"]


def test_points_expire_by_the_year_of_their_purchase() -> None:
    events = [bought(10_000, "2022-12-31T22:59:59Z"), bought(5_000, "2022-12-31T23:00:00Z")]
    assert of_one(*events, at_us=parse_instant("2025-12-31T22:59:59Z")).expired == 0
    assert of_one(*events, at_us=parse_instant("2025-12-31T23:00:00Z")).expired == 100
    assert of_one(*events, at_us=parse_instant("2026-12-31T23:00:00Z")).expired == 150


def test_the_moment_decides_level_and_expiry_and_leaves_no_event_out() -> None:
    purchase = bought(100_000, "2026-01-10T10:00:00Z")
    before = of_one(purchase, at_us=parse_instant("2026-01-10T10:00:00Z"))
    after = of_one(purchase, at_us=parse_instant("2026-01-10T10:00:00.000001Z"))
    assert (before.level, after.level) == ("basis", "silver")
    assert before.earned == after.earned == 1000


days = st.integers(19_700, 20_700)
facts = st.one_of(
    st.builds(
        lambda number, member_id, day, cents: Purchase(member_id, f"p{number}", midnight_us(day), {"goods": cents}, ()),
        st.integers(0, 6),
        st.sampled_from(["M1", "M2"]),
        days,
        st.integers(1, 200_000),
    ),
    st.builds(
        lambda number, of, member_id, day, cents, complete: Return(
            member_id, f"r{number}", f"p{of}", midnight_us(day), {"goods": cents}, complete
        ),
        st.integers(0, 6),
        st.integers(0, 6),
        st.sampled_from(["M1", "M2"]),
        days,
        st.integers(1, 200_000),
        st.booleans(),
    ),
)


def business_key(fact: Purchase | Return) -> tuple[str, str]:
    return fact.member_id, fact.purchase_id if isinstance(fact, Purchase) else fact.return_id


@settings(max_examples=150, deadline=None)
@given(st.lists(facts, max_size=12, unique_by=business_key), st.data())
def test_order_and_repetition_do_not_matter(events: list[Any], data: st.DataObject) -> None:
    again = data.draw(st.lists(st.sampled_from(events), max_size=5)) if events else []
    shuffled = data.draw(st.permutations(events + again))
    assert state_of(PROGRAMME, shuffled, NOW_US) == state_of(PROGRAMME, events, NOW_US)


def test_a_state_is_printed_as_one_json_object() -> None:
    state = of_one(bought(2190, "2026-01-10T10:00:00Z", "p1"))
    assert json.loads(json.dumps(state.to_json())) == {
        "member_id": "M1",
        "purchases": 1,
        "earned": 21,
        "bonus": 0,
        "expired": 0,
        "digest": digest([("p1", 2190, 0)]),
        "level": "basis",
        "timeline": [{"after": None, "level": "basis"}],
    }
