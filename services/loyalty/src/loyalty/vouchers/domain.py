"""What a voucher is at an instant, and what its uses cost (rules 3.10).

A sale that happened always counts, so a use is a fact that comes by the API or by a purchase event, in any order. The
points due for a voucher are a function of those facts; the owner's account gets `due - posted`. Everything here is
pure.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from programme.calendar import boundary_us, civil_day, civil_year, midnight_us
from programme.expiry import by_year
from programme.terms import Programme, Terms

from loyalty.points.account import Account

VoucherState = Literal["open", "redeemed", "cancelled", "expired"]


class Redemption(NamedTuple):
    """One use of a voucher through the API."""

    purchase_id: str
    redeemed_us: int


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
                back for back in backs if not (_later(back.occurred_us, at_us) or _later(back.received_us, known_us))
            )
        )


class Use(NamedTuple):
    """A use from `since_us` on; it counts no longer from `until_us` on. Uses sort by (since_us, purchase_id)."""

    since_us: int
    purchase_id: str
    until_us: int | None


@dataclass(slots=True)
class Voucher:
    """A voucher and all that is known of its uses, read under its owner's lock when it is to change."""

    voucher_no: int
    voucher_id: str
    key_version: int
    account_no: int
    reward: str
    value_cents: int
    points: int
    issued_us: int
    valid_until_us: int
    posted_points: int
    cancelled_us: int | None = None
    redemptions: list[Redemption] = field(default_factory=list)
    namings: list[Naming] = field(default_factory=list)
    changed: bool = False

    def add_naming(self, naming: Naming) -> None:
        """Add a purchase that names it, or further complete returns of one that is known."""
        for known in self.namings:
            if (known.account_no, known.purchase_id) == (naming.account_no, naming.purchase_id):
                self.namings.remove(known)
                naming = known._replace(complete_returns=known.complete_returns + naming.complete_returns)
                break
        self.namings.append(naming)

    def uses(self) -> list[Use]:
        """Every use there ever was, by (since_us, purchase_id), those that ended included.

        One that an event names is dated by the event, and ends when all purchases of its id that name the voucher
        are completely returned; another one by its redemption.
        """
        since = {redemption.purchase_id: redemption.redeemed_us for redemption in self.redemptions}
        named: dict[str, list[Naming]] = {}
        for naming in self.namings:
            named.setdefault(naming.purchase_id, []).append(naming)
        since |= {name: min(naming.occurred_us for naming in namings) for name, namings in named.items()}
        return sorted(Use(us, name, _all_ended_us(named.get(name, ()))) for name, us in since.items())

    def current_uses(self) -> list[Use]:
        """The uses that count, the one that is shown first (rules 3.10)."""
        return [use for use in self.uses() if use.until_us is None]

    def charges(self) -> list[tuple[int, int]]:
        """The points the owner pays for it, each part with its instant, for expiry (rules 3.9).

        What it costs is a step function of time: its points once it is issued, again for each use beyond the first,
        back when such a use ends, and back when it is cancelled unused.
        """
        charges, before = [(self.issued_us, self.points)], 1
        uses = self.uses()
        instants = {use.since_us for use in uses} | {use.until_us for use in uses} | {self.cancelled_us}
        for us in sorted(us for us in instants if us is not None):
            count = sum(use.since_us <= us and (use.until_us is None or us < use.until_us) for use in uses)
            cancelled = self.cancelled_us is not None and self.cancelled_us <= us
            after = max(count, 0 if cancelled else 1)
            if after != before:
                charges.append((us, (after - before) * self.points))
                before = after
        return charges

    def due_points(self) -> int:
        """What its owner has to pay for it in all (rules 3.10)."""
        return self.points * max(len(self.current_uses()), 1 if self.cancelled_us is None else 0)

    def usable_until_us(self, programme: Programme) -> int:
        """The first instant it can no longer be used: later than issued for if its use was completely returned."""
        ended = [use.until_us for use in self.uses() if use.until_us is not None]
        return max([self.valid_until_us, *(_extended_us(us, programme.at(us)) for us in ended)])

    def state_at(self, at_us: int, programme: Programme) -> VoucherState:
        """Its state at an instant, by all that is known of it."""
        if self.current_uses():
            return "redeemed"
        if self.cancelled_us is not None:
            return "cancelled"
        return "open" if at_us < self.usable_until_us(programme) else "expired"

    def as_of(self, at_us: int | None, known_us: int | None) -> "Voucher | None":
        """What was there of it at `at_us`, by what was known at `known_us`; None before it was issued."""
        acted = min((us for us in (at_us, known_us) if us is not None), default=None)
        if _later(self.issued_us, acted):
            return None
        return replace(
            self,
            cancelled_us=None if self.cancelled_us is None or _later(self.cancelled_us, acted) else self.cancelled_us,
            redemptions=[redemption for redemption in self.redemptions if not _later(redemption.redeemed_us, acted)],
            namings=[
                naming.known_by(at_us, known_us)
                for naming in self.namings
                if not (_later(naming.occurred_us, at_us) or _later(naming.received_us, known_us))
            ],
        )


def settle(voucher: Voucher, owner: Account, before: Sequence[tuple[int, int]], purchase_id: str | None) -> None:
    """Post to the owner what changed by a use or a cancellation; `before` are the charges before it."""
    owner.add_debits(by_year([*voucher.charges(), *((us, -points) for us, points in before)]))
    points = voucher.due_points() - voucher.posted_points
    if points:
        voucher.posted_points += points
        voucher.changed = True
        owner.post("voucher", -points, purchase_id=purchase_id, cause_id=voucher.voucher_id)
    owner.correct_expiry()


def valid_until_us(issued_us: int, valid_years: int) -> int:
    """The first instant a voucher is no longer valid: midnight after 31 December of the last year it is."""
    return boundary_us(civil_year(issued_us) + valid_years + 1)


def payable_cents(cents_by_class: Mapping[str, int], terms: Terms) -> int:
    """The cents of a basket that a voucher may pay for."""
    return sum(cents for name, cents in cents_by_class.items() if name not in terms.voucher_pays_not_for)


def _extended_us(ended_us: int, terms: Terms) -> int:
    """The end of the last of the days that a voucher is usable again after its use was given back."""
    return midnight_us(civil_day(ended_us) + terms.extension_days + 1)


def _all_ended_us(namings: Iterable[Naming]) -> int | None:
    """When the last of them ended; None if one has not, or there is none."""
    ended = [naming.ended_us for naming in namings]
    return max((us for us in ended if us is not None), default=None) if None not in ended else None


def _later(us: int, than_us: int | None) -> bool:
    return than_us is not None and us > than_us
