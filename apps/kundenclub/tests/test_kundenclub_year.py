"""The demo's data: nothing of the real receipts may be lost or changed on the way into events."""

import tomllib
from collections import Counter
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from importlib import resources
from itertools import islice
from pathlib import Path

import msgspec
import pyarrow.parquet as pq
import pytest
from kundenclub.demo.receipts import RECEIPTS_IN_DATA, Receipt, data_file, load_product_classes, read_receipts
from kundenclub.demo.year import TillYear
from programme.facts import Purchase, Return, accept
from programme.instants import parse_instant
from programme.terms import load_programme

CONTRACTS = Path(__file__).parents[3] / "contracts"
LAST_DAY = date(2026, 11, 21)
END_US = parse_instant("2026-11-22T00:00:00+01:00")
SAMPLE = 6_000


@pytest.fixture(scope="module")
def sample() -> list[Receipt]:
    return list(islice(read_receipts(LAST_DAY), SAMPLE))


def test_every_household_pays_to_the_cent_what_the_data_says() -> None:
    transactions = pq.ParquetFile(data_file("transactions")).read(["household_id", "sales_value", "basket_id"])
    rows = zip(*(transactions[name].to_pylist() for name in ("household_id", "sales_value")), strict=True)
    expected: Counter[int] = Counter()
    for household_id, dollars in rows:
        expected[household_id] += int(Decimal(repr(dollars)) * 100)
    paid: Counter[int] = Counter()
    baskets = set()
    last = date.min
    for receipt in read_receipts(LAST_DAY):
        paid[receipt.household_id] += sum(line.amount_cents for line in receipt.lines)
        baskets.add(receipt.basket_id)
        last = max(last, receipt.sold_at.date())
    assert paid == expected
    assert len(baskets) == RECEIPTS_IN_DATA
    assert last == LAST_DAY


def test_every_department_of_the_data_has_a_class_that_the_terms_know() -> None:
    rules = tomllib.loads(resources.files("kundenclub.demo").joinpath("product_classes.toml").read_text())
    products = pq.ParquetFile(data_file("products")).read(["department", "product_category", "product_type"])
    assert set(products["department"].to_pylist()) == set(rules["departments"])
    assert set(rules["categories"]) <= set(products["product_category"].to_pylist())
    assert set(rules["types"]) <= set(products["product_type"].to_pylist())
    terms = load_programme(CONTRACTS / "programme.toml").at(END_US)
    assert set(load_product_classes().of_article.values()) <= terms.earning_classes | terms.other_classes


def test_the_same_seed_gives_the_same_events(sample: list[Receipt]) -> None:
    first, second, other = (list(TillYear(seed, LAST_DAY).events(sample)) for seed in (1, 1, 2))
    assert first == second
    assert first != other


def test_every_event_is_accepted_by_the_rules(sample: list[Receipt]) -> None:
    facts = list(_facts(sample))
    purchases = {fact.purchase_id: fact for fact in facts if isinstance(fact, Purchase)}
    returns = [fact for fact in facts if isinstance(fact, Return)]
    assert len(purchases) == SAMPLE
    assert returns
    for fact in returns:
        purchase = purchases[fact.purchase_id]
        assert fact.member_id == purchase.member_id
        assert purchase.occurred_us < fact.occurred_us < END_US
        assert all(cents <= purchase.cents_by_class[name] for name, cents in fact.cents_by_class.items())


def test_the_year_has_repeats_late_receipts_and_returns_in_about_the_shares_it_says(sample: list[Receipt]) -> None:
    year = TillYear(1, LAST_DAY)
    events = list(year.events(sample))
    assert len(events) == year.tally.events
    assert len(events) - len(set(events)) == year.tally.repeated
    assert 0.02 < year.tally.returns / SAMPLE < 0.04
    assert 0.01 < year.tally.late / SAMPLE < 0.03
    instants = [msgspec.json.decode(event.data)["occurred_at"] for event in events]
    assert instants != sorted(instants)


def _facts(receipts: list[Receipt]) -> Iterator[Purchase | Return]:
    for event in TillYear(1, LAST_DAY).events(receipts):
        fact = accept(event.type, event.data, event.member_id.encode(), END_US)
        assert fact is not None
        yield fact
