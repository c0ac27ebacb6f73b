"""What a voucher is at an instant, and what its uses cost (rules 3.10).

A sale that happened always counts, so a use is a fact that comes by the API or by a purchase event, in any order. The
points due for a voucher are a function of those facts; the owner's account gets `due - posted`. Everything here is
pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from programme.calendar import boundary_us, civil_day, civil_year, midnight_us
from programme.terms import Programme, Terms

from loyalty.points.account import Account
from loyalty.vouchers.uses import Naming, Reservation, Tally, Undone, Use, all_ended_us, is_later

VoucherState = Literal["open", "reserved", "redeemed", "cancelled", "expired"]

MINUTE_US = 60_000_000
DAY_US = 24 * 60 * MINUTE_US


@dataclass(slots=True)
class Voucher:
    """A voucher and all that is known of its uses, read under its owner's lock when it is to change.

    `redemptions` (instants) and `namings` (by account_no) go by purchase_id. `notice_due_us` is when the job that tells
    of its end has to look at it next (None: nothing to tell); the two `told` are the ends that were told.
    """

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
    redemptions: dict[str, int] = field(default_factory=dict)
    namings: dict[str, dict[int, Naming]] = field(default_factory=dict)
    undone: list[Undone] = field(default_factory=list)
    reservation: Reservation | None = None
    notice_due_us: int | None = None
    expiring_told_us: int | None = None
    expired_told_us: int | None = None
    changed: bool = False
    _tally: Tally | None = None

    def add_redemption(self, purchase_id: str, redeemed_us: int) -> None:
        """Add a redemption through the API."""
        before = self.use_of(purchase_id)
        self.redemptions[purchase_id] = redeemed_us
        self._count_anew(before, purchase_id)

    def undo_redemption(self, purchase_id: str, undone_us: int) -> None:
        """Take a redemption through the API back."""
        before = self.use_of(purchase_id)
        self.undone.append(Undone(purchase_id, self.redemptions.pop(purchase_id), undone_us))
        self._count_anew(before, purchase_id)

    def add_naming(self, naming: Naming) -> None:
        """Add a purchase that names it, or further complete returns of one that is known."""
        before = self.use_of(naming.purchase_id)
        of_purchase = self.namings.setdefault(naming.purchase_id, {})
        known = of_purchase.get(naming.account_no)
        if known is not None:
            naming = known._replace(complete_returns=known.complete_returns + naming.complete_returns)
        of_purchase[naming.account_no] = naming
        self._count_anew(before, naming.purchase_id)

    def use_of(self, purchase_id: str) -> Use | None:
        """The use by a purchase, also one that ended; None if it has not used the voucher.

        One that an event names is dated by the event, and ends when all purchases of its id that name the voucher
        are completely returned; another one by its redemption.
        """
        namings = self.namings.get(purchase_id)
        if namings:
            return Use(min(n.occurred_us for n in namings.values()), purchase_id, all_ended_us(namings.values()))
        redeemed_us = self.redemptions.get(purchase_id)
        return None if redeemed_us is None else Use(redeemed_us, purchase_id, None)

    def uses(self) -> list[Use]:
        """Every use there ever was, by (since_us, purchase_id), those that ended included."""
        found = (self.use_of(purchase_id) for purchase_id in self.redemptions.keys() | self.namings.keys())
        return sorted((use for use in found if use is not None), key=lambda use: (use.since_us, use.purchase_id))

    def current_uses(self) -> list[Use]:
        """The uses that count, the one that is shown first (rules 3.10)."""
        return [use for use in self.uses() if use.until_us is None]

    def charges_by_year(self) -> dict[int, int]:
        """The points the owner pays for it, by the civil year each part is dated, for expiry (rules 3.9).

        What it costs is a step function of time: its points once it is issued, again for each use beyond the first,
        back when such a use ends, and back when it is cancelled unused. What falls into a year is how far the
        function is higher at its end than at the end of the year before.
        """
        charges = {civil_year(self.issued_us): self.points}
        changes = self._tallied().changes_by_year
        cancelled_in = None if self.cancelled_us is None else civil_year(self.cancelled_us)
        count, before = 0, 1
        for year in sorted(changes.keys() | ({cancelled_in} if cancelled_in is not None else set())):
            count += changes.get(year, 0)
            after = max(count, 1 if cancelled_in is None or year < cancelled_in else 0)
            charges[year] = charges.get(year, 0) + (after - before) * self.points
            before = after
        return charges

    def due_points(self) -> int:
        """What its owner has to pay for it in all (rules 3.10)."""
        return self.points * max(self._tallied().count, 1 if self.cancelled_us is None else 0)

    def usable_until_us(self, programme: Programme) -> int:
        """The first instant it can no longer be used: later than issued for if its use was completely returned."""
        ended = [use.until_us for use in self.uses() if use.until_us is not None]
        return max([self.valid_until_us, *(_extended_us(us, programme.at(us)) for us in ended)])

    def state_at(self, at_us: int, programme: Programme) -> VoucherState:
        """Its state at an instant, by all that is known of it."""
        if self._tallied().count:
            return "redeemed"
        if self.cancelled_us is not None:
            return "cancelled"
        if at_us >= self.usable_until_us(programme):
            return "expired"
        return "open" if self.reservation_at(at_us) is None else "reserved"

    def reservation_at(self, at_us: int) -> Reservation | None:
        """The reservation that holds it at an instant."""
        return self.reservation if self.reservation is not None and at_us < self.reservation.until_us else None

    def is_reserved_for(self, purchase_id: str, at_us: int) -> bool:
        """Whether a purchase holds it at an instant."""
        held = self.reservation_at(at_us)
        return held is not None and held.purchase_id == purchase_id

    def has_ended(self) -> bool:
        """Whether it is used or cancelled, so that nothing is to be told of its end."""
        return bool(self._tallied().count) or self.cancelled_us is not None

    def tell_end(self, programme: Programme, at_us: int) -> tuple[Literal["expiring", "expired"] | None, int]:
        """What is to be told of its end at an instant, and that end; remembers that it was, and when to look again."""
        until_us = self.usable_until_us(programme)
        ending: Literal["expiring", "expired"] | None = None
        if not self.has_ended():
            if at_us >= until_us:
                ending = "expired" if self.expired_told_us != until_us else None
                self.expired_told_us = until_us
            elif at_us >= until_us - programme.at(at_us).expiring_soon_days * DAY_US:
                ending = "expiring" if self.expiring_told_us != until_us else None
                self.expiring_told_us = until_us
        self.notice_due_us, self.changed = self.next_notice_us(programme, at_us), True
        return ending, until_us

    def next_notice_us(self, programme: Programme, at_us: int) -> int | None:
        """When the job has to tell of its end next, as of an instant: some days before it, at it, and once each."""
        if self.has_ended():
            return None
        until_us = self.usable_until_us(programme)
        if self.expired_told_us == until_us:
            return None
        if self.expiring_told_us == until_us:
            return until_us
        return until_us - programme.at(at_us).expiring_soon_days * DAY_US

    def as_of(self, at_us: int | None, known_us: int | None) -> "Voucher | None":
        """What was there of it at `at_us`, by what was known at `known_us`; None before it was issued."""
        acted = min((us for us in (at_us, known_us) if us is not None), default=None)
        if is_later(self.issued_us, acted):
            return None
        then = replace(
            self,
            cancelled_us=None if self.cancelled_us is None or is_later(self.cancelled_us, acted) else self.cancelled_us,
            redemptions={name: us for name, us in self.redemptions.items() if not is_later(us, acted)},
            namings={},
            reservation=self.reservation if acted is None else None,
            _tally=None,
        )
        for undone in self.undone:
            if acted is not None and undone.redeemed_us <= acted < undone.undone_us:
                then.redemptions[undone.purchase_id] = undone.redeemed_us
        for naming in (naming for namings in self.namings.values() for naming in namings.values()):
            if not (is_later(naming.occurred_us, at_us) or is_later(naming.received_us, known_us)):
                then.add_naming(naming.known_by(at_us, known_us))
        return then

    def _tallied(self) -> Tally:
        if self._tally is None:
            self._tally = Tally()
            for use in self.uses():
                self._tally.add(use, 1)
        return self._tally

    def _count_anew(self, before: Use | None, purchase_id: str) -> None:
        if self._tally is not None:
            self._tally.add(before, -1)
            self._tally.add(self.use_of(purchase_id), 1)


def settle(voucher: Voucher, owner: Account, charged_before: Mapping[int, int], purchase_id: str | None) -> None:
    """Post to the owner what changed by a use or a cancellation; `charged_before` are the charges before it."""
    charged = voucher.charges_by_year()
    years = charged.keys() | charged_before.keys()
    changes = {year: charged.get(year, 0) - charged_before.get(year, 0) for year in years}
    owner.add_debits({year: points for year, points in changes.items() if points})
    if voucher.has_ended() != (voucher.notice_due_us is None):
        voucher.notice_due_us = None if voucher.has_ended() else voucher.issued_us  # the job finds out when
        voucher.changed = True
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
