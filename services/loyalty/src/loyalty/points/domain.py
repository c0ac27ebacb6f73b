"""Post the difference: the one idea that carries the ledger (docs/architecture.md, section 4).

Per purchase a position says what was bought, what came back, at which rate, and how many points are posted.
Whatever arrives, the points *due* are computed from the position and `due - posted` becomes one new entry. A
difference of zero posts nothing, therefore the order of arrival cannot matter. Everything here is pure: it works on
rows that were read under the account locks and marks what has to be written.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from programme.calendar import civil_year
from programme.expiry import NextExpiry, expired_points, next_expiry
from programme.facts import Purchase, Return
from programme.points import eligible_cents, points_of, remaining_cents
from programme.terms import Programme
from programme.timeline import BASIS, Timeline, TimelineChanged, bonus_percent_at


class Entry(NamedTuple):
    """One signed change of a balance."""

    account_no: int
    entry_no: int
    kind: str
    points: int
    purchase_id: str | None
    cause_id: str | None


class Outcome(Enum):
    """What became of a purchase or return: `CONFLICT` is a known key with other content."""

    ACCEPTED = "accepted"
    REPEAT = "repeat"
    CONFLICT = "conflict"


@dataclass(slots=True)
class Account:
    """An account's row, read under its lock."""

    account_no: int
    member_id: str | None
    joined_us: int | None = None
    balance_points: int = 0
    expired_points: int = 0
    last_entry_no: int = 0
    last_event_no: int = 0
    earned_by_year: dict[int, int] = field(default_factory=dict)
    debited_by_year: dict[int, int] = field(default_factory=dict)
    last_purchase_us: int | None = None
    waiting_returns: int = 0
    timeline: Timeline = BASIS
    timeline_version: tuple[int, int] = (0, 0)
    changed: bool = False
    new_entries: list[Entry] = field(default_factory=list)

    def post(self, kind: str, points: int, *, purchase_id: str | None = None, cause_id: str | None = None) -> None:
        """Add one entry of `points`; none at all when they are 0."""
        if points == 0:
            return
        self.last_entry_no += 1
        self.balance_points += points
        self.changed = True
        self.new_entries.append(Entry(self.account_no, self.last_entry_no, kind, points, purchase_id, cause_id))

    def unposted_expiry(self, at_us: int) -> int:
        """Points expired at `at_us` (rules 3.9) that no entry has taken yet; negative: too many were taken."""
        return expired_points(self.earned_by_year, self.debited_by_year, at_us) - self.expired_points

    def available_points(self, at_us: int) -> int:
        """The balance of rules 3.8 at `at_us`."""
        return self.balance_points - self.unposted_expiry(at_us)

    def next_expiry(self, at_us: int) -> NextExpiry | None:
        """Points that expire next if nothing is spent, and the instant; None if none will."""
        return next_expiry(self.earned_by_year, self.debited_by_year, at_us)

    def post_expiry(self, at_us: int) -> None:
        """Write down what has expired at `at_us`: it was already true, so running this late or twice is harmless."""
        points = self.unposted_expiry(at_us)
        self.expired_points += points
        self.post("expiry", -points, cause_id=str(civil_year(at_us)))

    def debit(self, kind: str, points: int, at_us: int, *, cause_id: str) -> None:
        """Take `points` at `at_us`, after whatever has expired by then."""
        self.post_expiry(at_us)
        year = civil_year(at_us)
        self.debited_by_year[year] = self.debited_by_year.get(year, 0) + points
        self.post(kind, -points, cause_id=cause_id)

    def next_event_no(self) -> int:
        """Draw the version of the account's next published event."""
        self.last_event_no += 1
        self.changed = True
        return self.last_event_no


@dataclass(slots=True)
class Position:
    """What one purchase is worth, and how much of that is posted."""

    account_no: int
    received_us: int
    purchase: Purchase
    eligible_cents: int
    bonus_percent: int
    returned_cents: int = 0
    returned_completely: bool = False
    posted_points: int = 0
    is_new: bool = False
    changed: bool = False

    def due_points(self) -> int:
        """Rules 3.2 and 3.3: the points of what remains, at the rate the purchase had."""
        remaining = remaining_cents(self.eligible_cents, self.returned_cents, self.returned_completely)
        return points_of(remaining, self.bonus_percent).total


@dataclass(slots=True)
class KnownReturn:
    """A return that was accepted, whether or not its purchase is known yet."""

    account_no: int
    received_us: int
    fact: Return
    is_new: bool = False


Key = tuple[int, str]


@dataclass(slots=True)
class Ledger:
    """The accounts, positions and returns one batch works on.

    `positions` and `returns` hold every row that the batch's business keys name; `waiting` the returns of its
    purchases that came earlier than they did.
    """

    programme: Programme
    accounts: dict[str, Account]
    positions: dict[Key, Position] = field(default_factory=dict)
    returns: dict[Key, KnownReturn] = field(default_factory=dict)
    waiting: dict[Key, list[KnownReturn]] = field(default_factory=dict)

    def add_purchase(self, purchase: Purchase, received_us: int) -> Outcome:
        """Post a completed purchase, unless its key is known (rules 3.7)."""
        account = self.accounts[purchase.member_id]
        key = (account.account_no, purchase.purchase_id)
        known = self.positions.get(key)
        if known is not None:
            return Outcome.REPEAT if known.purchase == purchase else Outcome.CONFLICT
        terms = self.programme.at(purchase.occurred_us)
        position = Position(
            account.account_no,
            received_us,
            purchase,
            eligible_cents(purchase.cents_by_class, terms),
            bonus_percent_at(self.programme, account.timeline, purchase.occurred_us),
            is_new=True,
        )
        self.positions[key] = position
        for early in self.waiting.pop(key, ()):
            account.waiting_returns -= 1
            self._take_back(position, early.fact)
        account.last_purchase_us = max(account.last_purchase_us or purchase.occurred_us, purchase.occurred_us)
        account.changed = True
        self._settle(account, position, "purchase", None)
        return Outcome.ACCEPTED

    def add_return(self, fact: Return, received_us: int) -> Outcome:
        """Post a return, or let it wait for its purchase (rules 3.3)."""
        account = self.accounts[fact.member_id]
        key = (account.account_no, fact.return_id)
        known = self.returns.get(key)
        if known is not None:
            return Outcome.REPEAT if known.fact == fact else Outcome.CONFLICT
        row = KnownReturn(account.account_no, received_us, fact, is_new=True)
        self.returns[key] = row
        purchase_key = (account.account_no, fact.purchase_id)
        position = self.positions.get(purchase_key)
        account.changed = True
        if position is None:
            account.waiting_returns += 1
            self.waiting.setdefault(purchase_key, []).append(row)
            return Outcome.ACCEPTED
        self._take_back(position, fact)
        self._settle(account, position, "return", fact.return_id)
        return Outcome.ACCEPTED

    def apply_timeline(self, change: TimelineChanged, positions: Mapping[str, Position]) -> bool:
        """Rate the member's `positions` by a new timeline; False if it is older than the one there is.

        `positions` (by purchase_id) must hold every purchase from `first_difference_us` of the two timelines on.
        """
        account = self.accounts[change.member_id]
        version = (change.generation, change.events)
        if version < account.timeline_version:
            return False
        account.timeline, account.timeline_version, account.changed = change.steps, version, True
        for position in sorted(positions.values(), key=lambda p: (p.purchase.occurred_us, p.purchase.purchase_id)):
            percent = bonus_percent_at(self.programme, change.steps, position.purchase.occurred_us)
            if percent != position.bonus_percent:
                position.bonus_percent, position.changed = percent, True
                self._settle(account, position, "level", f"timeline {change.generation}.{change.events}")
        return True

    def _take_back(self, position: Position, fact: Return) -> None:
        """A return is judged by the terms of its purchase (rules 3.11)."""
        terms = self.programme.at(position.purchase.occurred_us)
        position.returned_cents += eligible_cents(fact.cents_by_class, terms)
        position.returned_completely |= fact.complete
        position.changed = True

    @staticmethod
    def _settle(account: Account, position: Position, kind: str, cause_id: str | None) -> None:
        points = position.due_points() - position.posted_points
        if points == 0:
            return
        position.posted_points += points
        position.changed = True
        year = civil_year(position.purchase.occurred_us)
        account.earned_by_year[year] = account.earned_by_year.get(year, 0) + points
        account.post(kind, points, purchase_id=position.purchase.purchase_id, cause_id=cause_id)


def first_difference_us(old: Timeline, new: Timeline) -> int | None:
    """The instant after which two timelines tell different levels; None if they never do.

    The first step of every timeline is basis from the beginning of time, so they differ at the earlier `after` of
    the first pair of steps that are not equal.
    """
    for mine, theirs in zip(old, new, strict=False):
        if mine != theirs:
            return min(after for after in (mine.after_us, theirs.after_us) if after is not None)
    longer = max(old, new, key=len)
    shorter = min(len(old), len(new))
    return longer[shorter].after_us if len(longer) > shorter else None
