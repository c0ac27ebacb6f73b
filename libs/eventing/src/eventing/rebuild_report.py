"""What a rebuild found: differences by key with their cause, the first ones by name, all of them counted."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeVar

SHOWN: Final = 100

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
    """The outcome of one run; `keys` were compared after `events` were read, `repaired` were made right."""

    keys: int = 0
    events: int = 0
    repaired: int = 0
    causes: Counter[str] = field(default_factory=Counter)
    shown: list[Difference] = field(default_factory=list)

    def add(self, difference: Difference) -> None:
        """Count one; the first `SHOWN` are kept."""
        self.causes[difference.cause] += 1
        if len(self.shown) < SHOWN:
            self.shown.append(difference)

    @property
    def total(self) -> int:
        """How many differences were found."""
        return self.causes.total()

    def lines(self, title: str) -> Iterator[str]:
        """The report as people read it."""
        yield from map(str, self.shown)
        if self.total > len(self.shown):
            yield f"... and {self.total - len(self.shown):,} more"
        repaired = f", {self.repaired:,} repaired" if self.repaired else ""
        found = f"{self.total:,}" if self.total else "no"
        yield f"{title}: {self.keys:,} compared after {self.events:,} events, {found} differences{repaired}"
        yield from (f"  {cause}: {count:,}" for cause, count in sorted(self.causes.items()))


def compare_rows(
    kind: str, live: Mapping[str, R], right: Mapping[str, R], compare: Callable[[str, R, R], Iterable[Found]]
) -> Iterator[Found]:
    """Cause and detail for rows that are on one side only, and what `compare` says of two of the same id."""
    for row_id in sorted(live.keys() | right.keys()):
        if row_id not in live:
            yield f"missing {kind}", row_id
        elif row_id not in right:
            yield f"{kind} nobody sent", row_id
        else:
            yield from compare(row_id, live[row_id], right[row_id])
