"""programme.toml: what it says, and that it cannot say nonsense (rules 3.11)."""

from datetime import date
from pathlib import Path

import pytest
from programme.instants import parse_instant
from programme.terms import Programme, ProgrammeError, Terms, load_programme, parse_programme

PATH = Path(__file__).parents[3] / "contracts" / "programme.toml"
TOML = PATH.read_text(encoding="utf-8")


def later(valid_from: str) -> str:
    """The shipped terms again, from another date on."""
    return TOML[TOML.rindex("[[terms]]") :].replace("2000-01-01", valid_from)


def test_the_shipped_terms_are_those_of_the_rules() -> None:
    (terms,) = load_programme(PATH).terms
    assert terms.valid_from == date(2000, 1, 1)
    assert terms.earning_classes == {"goods", "service", "food"}
    assert dict(terms.thresholds) == {"silver": 1000, "gold": 3000}
    assert dict(terms.bonus_percent) == {"basis": 0, "silver": 10, "gold": 20}
    assert terms.count_bonus
    reward = terms.rewards["voucher-5"]
    assert (reward.points, reward.value_cents, reward.valid_years) == (500, 500, 3)
    assert terms.voucher_pays_not_for == {"tobacco", "book", "prescription", "gift_card", "deposit"}
    assert (terms.reservation_minutes, terms.extension_days) == (15, 30)
    assert (terms.abc.a_percent, terms.abc.b_percent) == (80, 95)


def test_terms_begin_at_midnight_in_berlin_and_last_until_the_next() -> None:
    programme = parse_programme(TOML + later("2026-07-01"))
    first, second = programme.terms
    assert programme.at(parse_instant("2026-06-30T21:59:59.999999Z")) is first
    assert programme.at(parse_instant("2026-06-30T22:00:00Z")) is second
    assert programme.at(parse_instant("2099-12-31T00:00:00Z")) is second


def test_an_instant_before_the_first_terms_uses_the_first() -> None:
    programme = parse_programme(TOML + later("2026-07-01"))
    assert programme.at(parse_instant("1999-12-31T10:00:00Z")) is programme.terms[0]


def test_lowest_threshold_is_that_of_all_terms() -> None:
    programme = parse_programme(TOML + later("2026-07-01").replace("silver = 1000", "silver = 700"))
    assert programme.lowest_threshold == 700


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        ("valid_from = 2000-01-01", "valid_from = 2001-01-01", "gap"),
        ("valid_from = 2000-01-01", 'valid_from = "soon"', "valid_from"),
        ("valid_from = 2000-01-01", "", "valid_from"),
        ("count_bonus = true", "count_bonus = 1", "count_bonus"),
        ("count_bonus = true", "count_bonus = true\ncount_points = true", "count_points"),
        ("silver = 1000", "silver = 1000.0", "thresholds"),
        ("silver = 1000", "silver = true", "thresholds"),
        ("silver = 1000", "silver = 0", "thresholds"),
        ("silver = 1000", "silver = 3000", "grow"),
        ("silver = 1000", "platinum = 1000", "thresholds must name"),
        ("basis = 0", "basis = -1", "bonus_percent"),
        ("basis = 0\n", "", "bonus_percent must name"),
        ('"goods", "service"', '"goods", "Service"', "earning_classes"),
        ('"goods", "service"', '"goods", "tobacco"', "share tobacco"),
        ("points = 500", "points = 0", "rewards"),
        ("valid_years = 3", "", "voucher-5: a voucher needs"),
        ("valid_years = 3", 'valid_years = 3\nsku = "1"', "no sku"),
        ("valid_years = 3", 'valid_years = 3\nkind = "product"', "a product has no value_cents"),
        ("value_cents = 500\nvalid_years = 3", 'kind = "product"\nname = "Mug"', "needs name and sku"),
        ("value_cents = 500\nvalid_years = 3", 'kind = "mug"', "kind"),
        ("expiring_soon_days = 30", "expiring_soon_days = 0", "expiring_soon_days"),
        ("a_percent = 80", "a_percent = 95", "below"),
        ("new_within_days = 90", "new_within_days = 90\nold = 1", "old"),
        ("[[terms]]", "[[words]]", "words"),
        ("[[terms]]", "[[terms]", "Expected"),
    ],
)
def test_nonsense_is_refused_by_name(before: str, after: str, complaint: str) -> None:
    assert before in TOML
    with pytest.raises(ProgrammeError, match=complaint):
        parse_programme(TOML.replace(before, after))


@pytest.mark.parametrize(
    ("toml", "complaint"),
    [
        ("", "terms"),
        ("terms = []", "gap"),
        (TOML + later("2000-01-01"), "two terms are valid from 2000-01-01"),
        (TOML + later("2026-07-01") + later("2026-07-01"), "two terms are valid from 2026-07-01"),
        (TOML + later("2026-07-01") + later("2025-07-01"), "overlap"),
        (TOML + later("2100-01-01"), "after 2099"),
    ],
)
def test_dates_that_contradict_each_other_are_refused(toml: str, complaint: str) -> None:
    with pytest.raises(ProgrammeError, match=complaint):
        parse_programme(toml)


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "programme.toml"
    path.write_bytes(b"# \xff")
    with pytest.raises(ProgrammeError, match="UTF-8"):
        load_programme(path)


def test_terms_cannot_be_changed_after_the_fact() -> None:
    programme = load_programme(PATH)
    with pytest.raises(AttributeError):
        programme.terms[0].count_bonus = False  # type: ignore[misc]
    assert isinstance(programme, Programme)
    assert isinstance(programme.terms[0], Terms)


def test_terms_from_before_there_were_offers_and_contacts_have_the_shipped_numbers() -> None:
    (shipped,) = load_programme(PATH).terms
    (older,) = parse_programme(TOML[: TOML.index("# The lowest level that staff")]).terms
    assert (older.offers, older.contacts) == (shipped.offers, shipped.contacts)


@pytest.mark.parametrize(
    ("text", "instead", "message"),
    [
        ('event = "gold"\n', "", "offers.least_level must name discount, consultation, event"),
        ('event = "gold"', 'event = "basis"', "least_level"),
        ('channels = ["email", "sms", "post", "push"]', "channels = []", "contacts.channels must name at least one"),
        ("most_a_month = 4", "most_a_month = 0", "most_a_month"),
    ],
)
def test_offers_and_contacts_that_make_no_sense_are_refused(text: str, instead: str, message: str) -> None:
    assert text in TOML
    with pytest.raises(ProgrammeError, match=message):
        parse_programme(TOML.replace(text, instead))
