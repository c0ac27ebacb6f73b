"""What other terms would have done to a history: levels, points and expiry, before and after. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from programme.state import MemberState
from programme.terms import LEVELS


class Sums(NamedTuple):
    """Some members added up."""

    members: int = 0
    purchases: int = 0
    earned: int = 0
    bonus: int = 0
    expired: int = 0

    def plus(self, other: "Sums") -> "Sums":
        """Both together."""
        return Sums(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))


class Group(NamedTuple):
    """The same group of members under both programmes: of one level, or all."""

    before: Sums
    after: Sums


class WhatIf(NamedTuple):
    """`moved` counts members by the level they have and the one they would have, where these differ."""

    by_level: Mapping[str, Group]
    total: Group
    moved: Mapping[tuple[str, str], int]


LABELS = {
    "members": "members",
    "purchases": "purchases",
    "earned": "points earned",
    "bonus": "of them bonus",
    "expired": "points expired",
}
_LABEL_WIDTH = 18
_NUMBER_WIDTH = 16


def compare(pairs: Iterable[tuple[MemberState, MemberState]]) -> WhatIf:
    """Add up members, each with the state before and the state after."""
    before = dict.fromkeys(LEVELS, Sums())
    after = dict.fromkeys(LEVELS, Sums())
    moved: dict[tuple[str, str], int] = {}
    for old, new in pairs:
        before[old.level] = before[old.level].plus(_sums(old))
        after[new.level] = after[new.level].plus(_sums(new))
        if old.level != new.level:
            move = (old.level, new.level)
            moved[move] = moved.get(move, 0) + 1
    by_level = {level: Group(before[level], after[level]) for level in LEVELS}
    return WhatIf(by_level, Group(_total(before), _total(after)), moved)


def to_json(found: WhatIf) -> dict[str, Any]:
    """Numbers by level and in total, each `{"before", "after", "difference"}`, and the moves between levels."""
    return {
        "levels": {level: _group_json(group) for level, group in found.by_level.items()},
        "total": _group_json(found.total),
        "moved": [{"from": old, "to": new, "members": found.moved[old, new]} for old, new in _moves(found)],
    }


def to_lines(found: WhatIf) -> Iterator[str]:
    """A table for people."""
    yield _row("", "before", "after", "difference")
    for name, group in [*found.by_level.items(), ("total", found.total)]:
        yield name
        for label, before, after in zip(LABELS.values(), *group, strict=True):
            yield _row(f"  {label}", f"{before:,}", f"{after:,}", f"{after - before:+,}" if after != before else "0")
    if found.moved:
        yield "members who change"
    for old, new in _moves(found):
        yield _row(f"  {old} to {new}", f"{found.moved[old, new]:,}")


def _sums(state: MemberState) -> Sums:
    return Sums(1, state.purchases, state.earned, state.bonus, state.expired)


def _total(by_level: Mapping[str, Sums]) -> Sums:
    total = Sums()
    for sums in by_level.values():
        total = total.plus(sums)
    return total


def _moves(found: WhatIf) -> list[tuple[str, str]]:
    return sorted(found.moved, key=lambda move: [LEVELS.index(level) for level in move])


def _group_json(group: Group) -> dict[str, dict[str, int]]:
    return {
        name: {"before": before, "after": after, "difference": after - before}
        for name, before, after in zip(Sums._fields, *group, strict=True)
    }


def _row(label: str, *numbers: str) -> str:
    cells = [label.ljust(_LABEL_WIDTH), *(number.rjust(_NUMBER_WIDTH) for number in numbers)]
    return "".join(cells).rstrip()
