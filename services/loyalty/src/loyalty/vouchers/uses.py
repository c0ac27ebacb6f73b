"""The facts that a voucher's life is made of: purchases that name it, reservations, redemptions. Pure."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import NamedTuple

from programme.calendar import civil_year


class CompleteReturn(NamedTuple):
    """A return that leaves nothing of its purchase."""

    occurred_us: int
    received_us: int


class Naming(NamedTuple):
    """A purchase event that names the voucher. Two members may have purchases of one id (rules 3.7)."""

    account_no: int
    purchase_id: str
    occurred_us: int
    received_us: int
    complete_returns: tuple[CompleteReturn, ...] = ()

    @property
    def ended_us(self) -> int | None:
        """The instant from which the purchase is completely returned."""
        if not self.complete_returns:
            return None
        return max(self.occurred_us, min(back.occurred_us for back in self.complete_returns))

    def known_by(self, at_us: int | None, known_us: int | None) -> "Naming":
        """The same with the returns only that had happened at `at_us` and were known at `known_us`."""
        backs = self.complete_returns
        return self._replace(
            complete_returns=tuple(
                back
                for back in backs
                if not (is_later(back.occurred_us, at_us) or is_later(back.received_us, known_us))
            )
        )


class Reservation(NamedTuple):
    """A checkout holds the voucher for one purchase, until an instant. It costs nothing and is no history."""

    purchase_id: str
    until_us: int


class Undone(NamedTuple):
    """A redemption that was taken back: as if it had never been, but known in between."""

    purchase_id: str
    redeemed_us: int
    undone_us: int


class Use(NamedTuple):
    """A use from `since_us` on; it counts no longer from `until_us` on. Uses sort by (since_us, purchase_id)."""

    since_us: int
    purchase_id: str
    until_us: int | None


@dataclass(slots=True)
class Tally:
    """Uses counted, at the end of each year and in all, so that one more of thousands costs as much as the first."""

    count: int = 0
    changes_by_year: dict[int, int] = field(default_factory=dict)

    def add(self, use: Use | None, sign: int) -> None:
        """Count a use (1), or no longer (-1)."""
        if use is None:
            return
        self._change(use.since_us, sign)
        if use.until_us is None:
            self.count += sign
        else:
            self._change(use.until_us, -sign)

    def _change(self, us: int, change: int) -> None:
        year = civil_year(us)
        self.changes_by_year[year] = self.changes_by_year.get(year, 0) + change


def all_ended_us(namings: Collection[Naming]) -> int | None:
    """When the last of them ended; None if one has not."""
    ended = [us for naming in namings if (us := naming.ended_us) is not None]
    return max(ended) if len(ended) == len(namings) else None


def is_later(us: int, than_us: int | None) -> bool:
    return than_us is not None and us > than_us
