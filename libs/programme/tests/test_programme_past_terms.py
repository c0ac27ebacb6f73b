"""Terms that have begun stay as they were; later ones are free (rules 3.11)."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import pytest
from programme.instants import parse_instant
from programme.past_terms import content_of, keep_terms
from programme.terms import Programme, ProgrammeError, parse_programme

TOML = (Path(__file__).parents[3] / "contracts" / "programme.toml").read_text(encoding="utf-8")
FIRST, SECOND = date(2000, 1, 1), date(2026, 7, 1)
BEFORE_SECOND, AT_SECOND = parse_instant("2026-06-30T21:59:59.999999Z"), parse_instant("2026-06-30T22:00:00Z")


def programme(*later: str, silver: int = 1000) -> Programme:
    """The shipped terms, again from each date in `later`, in the last ones with this threshold of silver."""
    block = TOML[TOML.rindex("[[terms]]") :]
    blocks = [TOML, *(block.replace("2000-01-01", valid_from) for valid_from in later)]
    blocks[-1] = blocks[-1].replace("silver = 1000", f"silver = {silver}")
    return parse_programme("".join(blocks))


def kept(programme: Programme) -> dict[date, Any]:
    """What comes back from a database."""
    content = {terms.valid_from: content_of(terms) for terms in programme.terms}
    return {valid_from: json.loads(msgspec.json.encode(each)) for valid_from, each in content.items()}


def test_the_first_start_keeps_all_there_is() -> None:
    both = programme("2026-07-01")
    assert keep_terms({}, both, AT_SECOND) == kept(both)


def test_the_same_again_is_fine() -> None:
    both = programme("2026-07-01")
    assert keep_terms(kept(both), both, AT_SECOND) == kept(both)


def test_the_future_may_change_vanish_and_be_added() -> None:
    both, edited = programme("2026-07-01"), programme("2026-07-01", silver=900)
    assert keep_terms(kept(both), edited, BEFORE_SECOND) == kept(edited)
    assert keep_terms(kept(both), programme(), BEFORE_SECOND) == kept(programme())
    assert keep_terms(kept(programme()), both, BEFORE_SECOND) == kept(both)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("silver = 1000", "silver = 900", "thresholds.silver was 1000 and is 900"),
        ("count_bonus = true", "count_bonus = false", "count_bonus was true and is false"),
        ('["goods", "service", "food"]', '["goods", "service"]', "earning_classes was"),
        ("new_within_days = 90", "new_within_days = 91", "lifecycle.new_within_days was 90 and is 91"),
        ("[terms.rewards.voucher-5]", "[terms.rewards.voucher-6]", "rewards.voucher-5 was removed"),
        (
            "valid_years = 3",
            "valid_years = 3\n[terms.rewards.x]\npoints=1\nvalue_cents=1\nvalid_years=1",
            "x was added",
        ),
    ],
)
def test_a_number_that_has_begun_cannot_change(before: str, after: str, told: str) -> None:
    assert before in TOML
    with pytest.raises(ProgrammeError, match="terms valid from 2000-01-01 have begun: .*" + told):
        keep_terms(kept(programme()), parse_programme(TOML.replace(before, after)), AT_SECOND)


def test_terms_that_have_begun_cannot_vanish() -> None:
    with pytest.raises(ProgrammeError, match="terms valid from 2026-07-01 have begun and are gone"):
        keep_terms(kept(programme("2026-07-01")), programme(), AT_SECOND)


def test_terms_cannot_be_put_into_the_past() -> None:
    with pytest.raises(ProgrammeError, match="terms valid from 2026-07-01 were added after they had begun"):
        keep_terms(kept(programme("2027-01-01")), programme("2026-07-01", "2027-01-01"), AT_SECOND)


def test_terms_that_were_the_future_at_the_last_start_are_the_past_once_they_begin() -> None:
    both, edited = programme("2026-07-01"), programme("2026-07-01", silver=900)
    after_a_start_before = keep_terms(kept(programme()), both, BEFORE_SECOND)
    assert keep_terms(after_a_start_before, both, AT_SECOND) == kept(both)
    with pytest.raises(ProgrammeError, match=r"terms valid from 2026-07-01 have begun: thresholds.silver"):
        keep_terms(after_a_start_before, edited, AT_SECOND)


def test_every_edit_is_told_at_once() -> None:
    edited = parse_programme(TOML.replace("silver = 1000", "silver = 900").replace("gold = 3000", "gold = 2900"))
    with pytest.raises(ProgrammeError) as refusal:
        keep_terms(kept(programme()), edited, AT_SECOND)
    assert str(refusal.value).count("have begun") == 2


def test_a_number_that_a_newer_version_knows_is_kept_from_then_on() -> None:
    older = kept(programme())
    del older[FIRST]["extension_days"]
    del older[FIRST]["lifecycle"]["reactivated_days"]
    upgraded = keep_terms(older, programme(), AT_SECOND)
    assert upgraded == kept(programme())
    edited = parse_programme(TOML.replace("extension_days = 30", "extension_days = 31"))
    with pytest.raises(ProgrammeError, match="extension_days was 30 and is 31"):
        keep_terms(upgraded, edited, AT_SECOND)


def test_a_number_that_only_a_newer_version_knows_survives_an_older_one() -> None:
    newer = kept(programme())
    newer[FIRST]["lifecycle"]["silent_weekends"] = 1
    assert keep_terms(newer, programme(), AT_SECOND) == newer
