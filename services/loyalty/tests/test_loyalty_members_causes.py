"""Causes of ledger entries in words: which ones are late, and what is said where something is not known."""

from datetime import UTC, datetime

import pytest
from loyalty.members.domain import Cause, LedgerLine, Moment, Moments, named_ids, tell
from programme.instants import parse_instant

POSTED = datetime(2026, 3, 5, tzinfo=UTC)
MARCH_3 = parse_instant("2026-03-03T12:00:00Z")
MARCH_4 = parse_instant("2026-03-04T12:00:00Z")
VOUCHER = "0123456789abcdef0123456789abcdef"


def line(
    kind: str, points: int, purchase: str | None = None, cause: str | None = None, level: str | None = None
) -> LedgerLine:
    return LedgerLine(1, POSTED, kind, points, purchase, cause, level)


def moments(*, x_received_us: int) -> Moments:
    """X and return R happened on 3 March, Y on 4 March, when it was also received."""
    x = Moment(MARCH_3, x_received_us)
    return Moments({"X": x, "Y": Moment(MARCH_4, MARCH_4)}, {"R": x})


@pytest.mark.parametrize(
    ("entry", "kind", "business_id", "text"),
    [
        (line("purchase", 21, "X"), "purchase", "X", "purchase X of 2026-03-03: +21"),
        (line("return", -5, "X", "R"), "return", "R", "return R of 2026-03-03 took back goods of X: -5"),
        (line("reward", -500, None, VOUCHER), "voucher", VOUCHER, f"voucher {VOUCHER} was issued: -500"),
        (
            line("voucher", -500, "X", VOUCHER),
            "voucher",
            VOUCHER,
            f"purchase X used voucher {VOUCHER}, which nothing had paid for: -500",
        ),
        (
            line("voucher", 500, "X", VOUCHER),
            "voucher",
            VOUCHER,
            f"the use of voucher {VOUCHER} by purchase X was given back: +500",
        ),
        (line("voucher", 500, None, VOUCHER), "voucher", VOUCHER, f"voucher {VOUCHER} was given back: +500"),
        (
            line("expiry", -7, None, "2030"),
            "expiry",
            "2030",
            "points that were not spent by 1 January 2030 expired: -7",
        ),
        (
            line("expiry", 7, None, "2030"),
            "expiry",
            "2030",
            "fewer points than posted had expired by 1 January 2030: +7",
        ),
        (line("rebuild", 3, "X", "rebuild"), "rebuild", "X", "purchase X was put right from the log: +3"),
        (
            line("rebuild", -500, None, VOUCHER),
            "rebuild",
            VOUCHER,
            f"voucher {VOUCHER} was put right from the log: -500",
        ),
    ],
)
def test_every_kind_of_entry_is_told(entry: LedgerLine, kind: str, business_id: str | None, text: str) -> None:
    assert tell(entry, moments(x_received_us=MARCH_3)) == Cause(kind, business_id, text)


@pytest.mark.parametrize(("cause", "told"), [("purchase X", "purchase X"), ("return R", "return R")])
def test_late_is_a_cause_received_after_the_purchase_it_rates_anew(cause: str, told: str) -> None:
    entry = line("level", 4, "Y", cause, "silver")
    late, in_time = (tell(entry, moments(x_received_us=us)) for us in (MARCH_4 + 1, MARCH_4))
    assert (late.kind, late.id) == (in_time.kind, in_time.id) == tuple(cause.split())
    assert late.text == f"{told} of 2026-03-03 arrived late; Y is silver now: +4"
    assert in_time.text == f"{told} of 2026-03-03 was judged after Y was posted; Y is silver now: +4"


def test_a_timeline_as_such_is_told_where_no_event_is_known() -> None:
    entry = line("level", -4, "Y", "timeline 2.17", "basis")
    assert tell(entry, moments(x_received_us=MARCH_3)) == ("timeline", "2.17", "timeline 2.17 came; Y is basis now: -4")


def test_dates_are_those_of_the_shop() -> None:
    """23:30 UTC on 3 March is half past midnight on the 4th in Berlin."""
    at_night = Moment(parse_instant("2026-03-03T23:30:00Z"), MARCH_4)
    assert tell(line("purchase", 1, "X"), Moments({"X": at_night}, {})).text == "purchase X of 2026-03-04: +1"


def test_what_has_to_be_known_is_named_by_the_entries() -> None:
    entries = [
        line("purchase", 1, "a"),
        line("return", -1, "a", "r1"),
        line("level", 1, "b", "purchase c"),
        line("level", 1, "b", "return r2"),
        line("level", 1, "b", "timeline 1.1"),
        line("reward", -1, None, VOUCHER),
        line("voucher", -1, "d", VOUCHER),
        line("expiry", -1, None, "2030"),
    ]
    assert named_ids(entries) == ({"a", "b", "c", "d"}, {"r1", "r2"})
