"""What a rebuild found: differences by key with their cause, the first ones by name, all of them counted."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeVar

SHOWN: Final = 100
SHOWN_OF_KEY: Final = 5

_NOBODY_SENT: Final = "nobody sent"

R = TypeVar("R")
Found = tuple[str, str]
"""The cause of a difference, which is counted, and its detail."""


class Difference(NamedTuple):
    """Where a live row of `key` is not what the log makes of it: `cause` is counted, `detail` says which and how."""

    key: str
    cause: str
    detail: str

    def __str__(self) -> str:
        return f"{self.key}: {self.cause}{self.detail and ': '}{self.detail}"


@dataclass
class RebuildReport:
    """The outcome of one run: `keys` were compared after `events` were read, `wrong` differ, `repaired` no longer."""

    keys: int = 0
    events: int = 0
    wrong: int = 0
    repaired: int = 0
    causes: Counter[str] = field(default_factory=Counter)
    shown: list[Difference] = field(default_factory=list)
    _key: str = ""
    _of_key: int = 0

    def add(self, differences: Sequence[Difference]) -> None:
        """Count differences, those of one key together; `SHOWN` in all are kept, `SHOWN_OF_KEY` of each."""
        for difference in differences:
            self.causes[difference.cause] += 1
            if difference.key != self._key:
                self._key, self._of_key = difference.key, 0
                self.wrong += 1
            self._of_key += 1
            if len(self.shown) < SHOWN and self._of_key <= SHOWN_OF_KEY:
                self.shown.append(difference)

    @property
    def total(self) -> int:
        """How many differences were found."""
        return self.causes.total()

    @property
    def is_right(self) -> bool:
        """Whether nothing differs, or nothing any more."""
        return self.wrong == self.repaired

    def lines(self, title: str) -> Iterator[str]:
        """The report as people read it."""
        yield from map(str, self.shown)
        if self.total > len(self.shown):
            yield f"... and {self.total - len(self.shown):,} more"
        found = f"{self.total:,} differences of {self.wrong:,}" if self.total else "no differences"
        repaired = f", {self.repaired:,} repaired" if self.repaired else ""
        yield f"{title}: {self.keys:,} compared after {self.events:,} events, {found}{repaired}"
        yield from (f"  {cause}: {count:,}" for cause, count in sorted(self.causes.items()))


def rows_nobody_sent(differences: Iterable[Difference]) -> int:
    """How many of them are rows that no event in the log explains."""
    return sum(difference.cause.endswith(_NOBODY_SENT) for difference in differences)


def compare_rows(
    kind: str, live: Mapping[str, R], right: Mapping[str, R], compare: Callable[[str, R, R], Iterable[Found]]
) -> Iterator[Found]:
    """Cause and detail for rows that are on one side only, and what `compare` says of two of the same id."""
    for row_id in sorted(live.keys() | right.keys()):
        if row_id not in live:
            yield f"missing {kind}", row_id
        elif row_id not in right:
            yield f"{kind} {_NOBODY_SENT}", row_id
        else:
            yield from compare(row_id, live[row_id], right[row_id])
