"""Post the difference: whatever order events come in, the same points are posted."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from loyalty.points.account import Account
from loyalty.points.domain import Ledger, Outcome, first_difference_us
from programme.facts import Purchase, Return
from programme.instants import parse_instant
from programme.terms import load_programme
from programme.timeline import BASIS, Cause, Step, Timeline, TimelineChanged, level_at

PROGRAMME = load_programme(Path(__file__).parents[3] / "contracts" / "programme.toml")
NOON = parse_instant("2026-03-03T12:00:00Z")
HOUR = 3_600_000_000


def purchase(name: str, cents: int, us: int = NOON) -> Purchase:
    return Purchase("M1", name, us, {"goods": cents}, ())


def back(name: str, of: str, cents: int, *, complete: bool = False) -> Return:
    return Return("M1", name, of, NOON + HOUR, {"goods": cents} if cents else {}, complete)


def timeline(events: int, *steps: tuple[int, str]) -> TimelineChanged:
    return TimelineChanged("M1", 1, events, (*BASIS, *(Step(us, level) for us, level in steps)))


def empty_ledger() -> Ledger:
    return Ledger(PROGRAMME, {"M1": Account(1, "M1")})


def post(ledger: Ledger, *facts: Purchase | Return | TimelineChanged) -> list[Outcome]:
    outcomes = []
    for fact in facts:
        if isinstance(fact, Purchase):
            outcomes.append(ledger.add_purchase(fact, NOON))
        elif isinstance(fact, Return):
            outcomes.append(ledger.add_return(fact, NOON))
        else:
            ledger.apply_timeline(fact, {key[1]: position for key, position in ledger.positions.items()})
    return outcomes


def entries(ledger: Ledger) -> list[tuple[str, int, str | None, str | None]]:
    return [(e.kind, e.points, e.purchase_id, e.cause_id) for e in ledger.accounts["M1"].new_entries]


def test_a_purchase_posts_a_point_a_euro() -> None:
    ledger = empty_ledger()
    post(ledger, purchase("p1", 2190))
    assert entries(ledger) == [("purchase", 21, "p1", None)]


def test_same_event_twice_posts_once_and_other_content_is_a_conflict() -> None:
    ledger = empty_ledger()
    outcomes = post(ledger, purchase("p1", 2190), purchase("p1", 2190), purchase("p1", 2191))
    assert outcomes == [Outcome.ACCEPTED, Outcome.REPEAT, Outcome.CONFLICT]
    assert len(entries(ledger)) == 1


def test_22_partial_returns_take_back_every_point_and_no_more() -> None:
    ledger = empty_ledger()
    returns = [back(f"r{n:02}", "p1", 99) for n in range(22)] + [back("r99", "p1", 12)]
    post(ledger, purchase("p1", 2190), *returns)
    assert ledger.accounts["M1"].balance_points == 0


def test_return_before_its_purchase_waits() -> None:
    ledger = empty_ledger()
    post(ledger, back("r1", "p1", 1000))
    assert (ledger.accounts["M1"].waiting_returns, entries(ledger)) == (1, [])
    post(ledger, purchase("p1", 2190))
    assert (ledger.accounts["M1"].waiting_returns, entries(ledger)) == (0, [("purchase", 11, "p1", None)])


def test_a_late_timeline_posts_the_difference_with_its_cause() -> None:
    ledger = empty_ledger()
    post(ledger, purchase("p1", 4000), timeline(2, (NOON - HOUR, "silver")))
    assert entries(ledger)[-1] == ("level", 4, "p1", "timeline 1.2")


def test_a_level_entry_names_the_latest_arrival_before_its_purchase_and_the_level() -> None:
    ledger = empty_ledger()
    causes = (Cause("purchase", "late", NOON - HOUR), Cause("return", "r9", NOON - 1), Cause("purchase", "p2", NOON))
    change = TimelineChanged("M1", 1, 3, (*BASIS, Step(NOON - 2 * HOUR, "gold")), causes)
    post(ledger, purchase("p1", 4000), change)
    entry = ledger.accounts["M1"].new_entries[-1]
    assert (entry.kind, entry.points, entry.cause_id, entry.level) == ("level", 8, "return r9", "gold")


def test_a_level_entry_names_the_arrival_that_made_the_step() -> None:
    ledger = empty_ledger()
    causes = (Cause("purchase", "winner", NOON - HOUR), Cause("purchase", "small", NOON - 1))
    change = TimelineChanged("M1", 1, 3, (*BASIS, Step(NOON - HOUR, "silver")), causes)
    post(ledger, purchase("p1", 4000), change)
    assert ledger.accounts["M1"].new_entries[-1].cause_id == "purchase winner"


def test_an_older_timeline_changes_nothing() -> None:
    ledger = empty_ledger()
    post(ledger, purchase("p1", 4000), timeline(2, (NOON - HOUR, "silver")), timeline(1))
    assert ledger.accounts["M1"].balance_points == 44


FACTS = (
    purchase("p1", 2190),
    purchase("p2", 99_999, NOON + HOUR),
    back("r1", "p1", 333),
    back("r2", "p1", 0, complete=True),
    back("r3", "p2", 50_001),
    back("r4", "p2", 1),
)


@given(
    order=st.permutations(FACTS),
    repeats=st.lists(st.sampled_from(FACTS), max_size=4),
    steps=st.lists(st.sampled_from([timeline(1), timeline(2, (NOON, "gold")), timeline(3, (NOON, "silver"))])),
)
def test_any_order_with_repeats_gives_the_same_account(
    order: list[Purchase | Return], repeats: list[Purchase | Return], steps: list[TimelineChanged]
) -> None:
    final = timeline(9, (NOON, "silver"))
    ledger = empty_ledger()
    post(ledger, *steps, *order, *repeats, final)
    account = ledger.accounts["M1"]
    assert account.balance_points == (99_999 - 50_002) * 110 // 10_000
    assert account.balance_points == sum(e.points for e in account.new_entries)
    assert [e.entry_no for e in account.new_entries] == list(range(1, account.last_entry_no + 1))
    assert account.earned_by_year == {2026: account.balance_points}
    assert account.waiting_returns == 0


TIMELINES = st.lists(st.tuples(st.integers(1, 6), st.sampled_from(["basis", "silver", "gold"])), max_size=4).map(
    lambda steps: (*BASIS, *(Step(us, level) for us, level in sorted(dict(steps).items())))
)


@given(TIMELINES, TIMELINES)
def test_timelines_agree_up_to_their_first_difference(old: Timeline, new: Timeline) -> None:
    differing = [us for us in range(9) if level_at(old, us) != level_at(new, us)]
    first = first_difference_us(old, new)
    assert all(first is not None and us > first for us in differing)


def test_negative_balance_and_expiry_together() -> None:
    account = Account(1, "M1")
    account.earned_by_year[2020] = 700
    account.balance_points = 700
    account.post_expiry(parse_instant("2023-05-01T12:00:00Z"))
    account.add_debits({2023: 500})
    account.post("reward", -500, cause_id="v1")
    assert account.available_points(parse_instant("2023-12-31T22:59:59Z")) == 200
    new_year_2024 = parse_instant("2023-12-31T23:00:00Z")
    assert account.available_points(new_year_2024) == 0
    account.post_expiry(new_year_2024)
    account.post_expiry(new_year_2024)
    assert [(e.kind, e.points) for e in account.new_entries] == [("reward", -500), ("expiry", -200)]


def test_a_late_return_of_expired_points_is_not_taken_twice() -> None:
    account = Account(1, "M1", balance_points=700, earned_by_year={2020: 700})
    new_year_2024 = parse_instant("2023-12-31T23:00:00Z")
    account.post_expiry(new_year_2024)
    account.earned_by_year[2020] = 300
    account.post("return", -400, purchase_id="p1")
    assert account.available_points(new_year_2024) == 0
    account.correct_expiry()
    assert (account.balance_points, account.expired_points) == (0, 300)
    assert [(e.kind, e.points) for e in account.new_entries][1:] == [("return", -400), ("expiry", 400)]


def test_a_difference_of_zero_posts_no_entry() -> None:
    account = Account(1, "M1")
    account.post("purchase", 0)
    assert (account.new_entries, account.changed) == ([], False)
