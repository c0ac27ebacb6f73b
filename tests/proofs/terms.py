"""A programme whose numbers change twice, once on a day when the clocks do: for the proofs only."""

from collections.abc import Mapping
from datetime import date

SECOND_FROM, THIRD_FROM = date(2024, 7, 1), date(2025, 10, 26)
AWKWARD_DATES = (
    date(2023, 12, 31),
    date(2024, 2, 29),
    date(2024, 3, 31),
    SECOND_FROM,
    date(2024, 10, 27),
    date(2025, 1, 1),
    date(2025, 2, 28),
    date(2025, 3, 30),
    THIRD_FROM,
    date(2026, 1, 1),
    date(2026, 3, 29),
)

_SECOND = {
    "valid_from = 2000-01-01": f"valid_from = {SECOND_FROM}",
    '["goods", "service", "food"]': '["goods", "food", "book"]',
    '"deposit", "gift_card", "tobacco", "book", ': '"deposit", "gift_card", "tobacco", "service", ',
    "count_bonus = true": "count_bonus = false",
    "silver = 1000\ngold = 3000": "silver = 500\ngold = 2000",
    "basis = 0\nsilver = 10\ngold = 20": "basis = 2\nsilver = 15\ngold = 33",
}
_THIRD = {
    "valid_from = 2000-01-01": f"valid_from = {THIRD_FROM}",
    "silver = 1000\ngold = 3000": "silver = 1500\ngold = 2500",
    "basis = 0\nsilver = 10\ngold = 20": "basis = 0\nsilver = 7\ngold = 25",
}


def with_dated_terms(programme_toml: str) -> str:
    """contracts/programme.toml, whose one version of the terms gets two successors: books earn from the second on,
    services no longer; bonus points count in the first and the third only."""
    terms = programme_toml[programme_toml.rindex("[[terms]]") :]
    return "\n".join([programme_toml, _changed(terms, _SECOND), _changed(terms, _THIRD)])


def _changed(terms: str, changes: Mapping[str, str]) -> str:
    for old, new in changes.items():
        assert terms.count(old) == 1, f"programme.toml has not one {old!r}"
        terms = terms.replace(old, new)
    return terms
