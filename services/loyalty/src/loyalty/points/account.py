"""An account's row and the entries posted to it: the only place where a balance changes.

Pure: it works on a row that was read under its lock, and collects what has to be written.
"""

from collections.abc import Mapping

import msgspec
from programme.calendar import civil_year
from programme.expiry import NextExpiry, expired_by, next_expiry
from programme.timeline import BASIS, Timeline


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One signed change of a balance."""

    account_no: int
    entry_no: int
    kind: str
    points: int
    purchase_id: str | None
    cause_id: str | None
    level: str | None


class Account(msgspec.Struct, gc=False):
    """An account's row, read under its lock. `changed` tells of its sums, `has_new_timeline` of its timeline."""

    account_no: int
    member_id: str | None
    joined_us: int | None = None
    balance_points: int = 0
    expired_points: int = 0
    expiry_year: int = 0
    last_entry_no: int = 0
    last_event_no: int = 0
    earned_by_year: dict[int, int] = {}
    debited_by_year: dict[int, int] = {}
    last_purchase_us: int | None = None
    waiting_returns: int = 0
    timeline: Timeline = BASIS
    timeline_version: tuple[int, int] = (0, 0)
    changed: bool = False
    has_new_timeline: bool = False
    new_entries: list[Entry] = []

    def post(
        self,
        kind: str,
        points: int,
        *,
        purchase_id: str | None = None,
        cause_id: str | None = None,
        level: str | None = None,
    ) -> None:
        """Add one entry of `points`; none at all when they are 0."""
        if points == 0:
            return
        self.last_entry_no += 1
        self.balance_points += points
        self.changed = True
        entry = Entry(self.account_no, self.last_entry_no, kind, points, purchase_id, cause_id, level)
        self.new_entries.append(entry)

    def available_points(self, at_us: int) -> int:
        """The balance of rules 3.8 at `at_us`: less what has expired by then, whether or not an entry took it."""
        return self.balance_points - self._unposted_expiry(self._expiry_year_at(at_us))

    def next_expiry(self, at_us: int) -> NextExpiry | None:
        """Points that expire next if nothing is spent, and the instant; None if none will."""
        return next_expiry(self.earned_by_year, self.debited_by_year, at_us)

    def post_expiry(self, at_us: int) -> None:
        """Write down what has expired at `at_us`: it was already true, so doing this late or twice is harmless."""
        year = self._expiry_year_at(at_us)
        if year != self.expiry_year:
            self.expiry_year, self.changed = year, True
        self.correct_expiry()

    def correct_expiry(self) -> None:
        """After a change of what was earned or spent: post what differs at the boundary posted last (rules 3.9).

        It goes no further than that boundary. Events may be years old, so only spending and the expiry job, which
        live now, move it.
        """
        if self.expiry_year == 0:
            return
        points = self._unposted_expiry(self.expiry_year)
        self.expired_points += points
        self.post("expiry", -points, cause_id=str(self.expiry_year))

    def add_debits(self, points_by_year: Mapping[int, int]) -> None:
        """Count debits by the civil year they are dated; negative ones are points given back."""
        for year, points in points_by_year.items():
            self.debited_by_year[year] = self.debited_by_year.get(year, 0) + points
            self.changed = True

    def points_by_year(self) -> tuple[dict[int, int], dict[int, int]]:
        """What was earned and what was debited, by civil year, without zeros."""
        earned, debited = self.earned_by_year.items(), self.debited_by_year.items()
        return {year: points for year, points in earned if points}, {year: points for year, points in debited if points}

    def next_event_no(self) -> int:
        """Draw the version of the account's next published event."""
        self.last_event_no += 1
        self.changed = True
        return self.last_event_no

    def _expiry_year_at(self, at_us: int) -> int:
        return max(self.expiry_year, civil_year(at_us))

    def _unposted_expiry(self, year: int) -> int:
        """Points expired by `year` that no entry has taken yet; negative: too many were taken."""
        return expired_by(self.earned_by_year, self.debited_by_year, year) - self.expired_points
