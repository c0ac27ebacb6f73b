"""The programme's numbers, dated (rules 3.11): one version of them is the terms in force from a date on."""

import tomllib
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from programme.benefit_terms import OFFER_KINDS, ContactTerms, OfferTerms
from programme.calendar import day_of, midnight_us

LEVELS = ("basis", "silver", "gold")
"""Ascending. The first one everybody has, the others are won by collecting points."""
BASE_LEVEL = LEVELS[0]
WON_LEVELS = LEVELS[1:]

FIRST_TERMS_FROM = date(2000, 1, 1)

_Positive = Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000)]
_Days = Annotated[int, msgspec.Meta(ge=1, le=366)]
_Percent = Annotated[int, msgspec.Meta(ge=0, le=100)]
_Class = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9_]{1,32}\Z")]


class ProgrammeError(ValueError):
    """The terms contradict themselves or say something unknown; the message names the place."""


class Reward(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something points buy (rules 3.10): a voucher has a value and a validity, a product a name and a number.

    What the other kind has is 0 or empty, and so are names that terms of earlier versions do not give.
    """

    points: _Positive
    kind: Literal["voucher", "product"] = "voucher"
    value_cents: Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)] = 0
    valid_years: Annotated[int, msgspec.Meta(ge=0, le=10)] = 0
    name: Annotated[str, msgspec.Meta(max_length=100)] = ""
    sku: Annotated[str, msgspec.Meta(max_length=64)] = ""


class Lifecycle(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The numbers of rules 3.12."""

    new_within_days: _Positive
    new_below_purchase_days: _Positive
    regular_purchase_days: _Positive
    regular_purchase_months: _Positive
    regular_within_months: Annotated[int, msgspec.Meta(ge=1, le=60)]
    regular_silent_at_most_days: _Positive
    existing_within_months: _Positive
    at_risk_intervals: _Positive
    at_risk_silent_days: _Positive
    at_risk_purchase_days: _Positive
    reactivated_days: _Positive
    reactivated_after_months: _Positive


class Abc(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The numbers of rules 3.13: revenue of the last months, and the shares of it at which A and B end."""

    within_months: _Positive
    a_percent: _Percent
    b_percent: _Percent


class Terms(msgspec.Struct, frozen=True, forbid_unknown_fields=True, dict=True):
    """One version of the numbers. The fields are the keys of a `[[terms]]` table of programme.toml."""

    valid_from: date
    earning_classes: frozenset[_Class]
    other_classes: frozenset[_Class]
    thresholds: Mapping[str, _Positive]
    bonus_percent: Mapping[str, _Percent]
    count_bonus: bool
    rewards: Mapping[str, Reward]
    voucher_pays_not_for: frozenset[_Class]
    reservation_minutes: _Positive
    extension_days: _Positive
    lifecycle: Lifecycle
    abc: Abc
    adjustment_limit_points: _Positive = 1000
    expiring_soon_days: _Days = 30
    offers: OfferTerms = OfferTerms()
    contacts: ContactTerms = ContactTerms()

    @cached_property
    def from_us(self) -> int:
        """00:00 Berlin of `valid_from`."""
        return midnight_us(day_of(self.valid_from))


@dataclass(frozen=True)
class Programme:
    """All terms, in order of their dates. Make one with `parse_programme` or `load_programme`."""

    terms: tuple[Terms, ...]

    def at(self, us: int) -> Terms:
        """The terms in force at an instant; before the first ones, the first."""
        return self.terms[bisect_right(self._later_starts_us, us)]

    @cached_property
    def lowest_threshold(self) -> int:
        """Points below which nobody ever had more than the base level."""
        return min(min(terms.thresholds.values()) for terms in self.terms)

    @cached_property
    def _later_starts_us(self) -> list[int]:
        return [terms.from_us for terms in self.terms[1:]]


def load_programme(path: Path) -> Programme:
    """Read programme.toml. Raises ProgrammeError, or OSError if there is no such file."""
    try:
        return parse_programme(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise ProgrammeError(f"not UTF-8: {error}") from None


def parse_programme(toml: str) -> Programme:
    """The programme of a TOML text: complete `[[terms]]` tables, oldest first. Raises ProgrammeError."""
    try:
        document = msgspec.convert(tomllib.loads(toml), _Document)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, RecursionError) as error:
        raise ProgrammeError(str(error)) from None
    _check_dates([terms.valid_from for terms in document.terms])
    for terms in document.terms:
        _check_numbers(terms)
    return Programme(document.terms)


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    terms: tuple[Terms, ...]


def _check_dates(dates: list[date]) -> None:
    if dates[:1] != [FIRST_TERMS_FROM]:
        raise ProgrammeError(f"gap: the first terms must be valid from {FIRST_TERMS_FROM}")
    for earlier, later in pairwise(dates):
        if later == earlier:
            raise ProgrammeError(f"two terms are valid from {later}")
        if later < earlier:
            raise ProgrammeError(f"overlap: terms valid from {later} stand after those of {earlier}")
    if dates[-1].year > 2099:
        raise ProgrammeError(f"terms valid from {dates[-1]}: no event is dated after 2099")


def _check_numbers(terms: Terms) -> None:
    problem = _problem(terms)
    if problem:
        raise ProgrammeError(f"terms valid from {terms.valid_from}: {problem}")


def _problem(terms: Terms) -> str | None:
    both = terms.earning_classes & terms.other_classes
    if both:
        return "earning_classes and other_classes share " + ", ".join(sorted(both))
    if set(terms.thresholds) != set(WON_LEVELS):
        return "thresholds must name " + ", ".join(WON_LEVELS)
    if set(terms.bonus_percent) != set(LEVELS):
        return "bonus_percent must name " + ", ".join(LEVELS)
    if not terms.rewards:
        return "rewards must name at least one"
    for name, reward in terms.rewards.items():
        if wrong := _problem_of_reward(reward):
            return f"rewards.{name}: {wrong}"
    values = [terms.thresholds[level] for level in WON_LEVELS]
    if values != sorted(set(values)):
        return "thresholds must grow from level to level"
    if terms.abc.a_percent >= terms.abc.b_percent:
        return "abc.a_percent must be below abc.b_percent"
    if set(terms.offers.least_level) != set(OFFER_KINDS):
        return "offers.least_level must name " + ", ".join(OFFER_KINDS)
    if not terms.contacts.channels:
        return "contacts.channels must name at least one"
    return None


def _problem_of_reward(reward: Reward) -> str | None:
    if reward.kind == "voucher":
        if not (reward.value_cents and reward.valid_years):
            return "a voucher needs value_cents and valid_years"
        return "a voucher has no sku" if reward.sku else None
    if reward.value_cents or reward.valid_years:
        return "a product has no value_cents and no valid_years"
    return None if reward.name and reward.sku else "a product needs name and sku"
