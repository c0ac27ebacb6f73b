"""Points that staff give or take, and who may decide about many of them (rules 3.15). Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from programme.calendar import civil_year
from programme.expiry import by_year

from loyalty.points.account import Account

Reason = Literal["goodwill", "correction", "complaint", "migration"]
State = Literal["pending", "posted", "rejected"]
REASONS: tuple[str, ...] = get_args(Reason)
STATES: tuple[str, ...] = get_args(State)

Years = dict[int, int]


class Person(NamedTuple):
    """Who asked or decided: the calling system, and the person it names, if it names one."""

    client: str
    subject: str | None

    def may_be(self, other: "Person") -> bool:
        """Whether both may be one person. Where a system names nobody, only another system is somebody else."""
        if self.subject is not None and other.subject is not None:
            return self.subject == other.subject
        return self.client == other.client


@dataclass(slots=True)
class Adjustment:
    """`points` are signed. It takes effect at `decided_us` if it is posted, and never else."""

    adjustment_id: int
    account_no: int
    points: int
    reason: str
    text: str | None
    requested_by: Person
    requested_us: int
    state: str = "pending"
    decided_by: Person | None = None
    decided_us: int | None = None

    def posted_points(self) -> int:
        """What it changed the balance by."""
        return self.points if self.state == "posted" else 0

    def is_known(self, at_us: int | None, known_us: int | None) -> bool:
        """Whether it was posted by both instants (None: whenever); staff's actions are known at once."""
        clocks = [us for us in (at_us, known_us) if us is not None]
        return self.state == "posted" and self.decided_us is not None and all(self.decided_us <= us for us in clocks)


def post(account: Account, adjustment: Adjustment, at_us: int) -> None:
    """Post it at `at_us` to the account, which is locked: credits expire like a purchase of that day (rules 3.9)."""
    adjustment.state, adjustment.decided_us = "posted", at_us
    account.post_expiry(at_us)
    year, points = civil_year(at_us), adjustment.points
    if points > 0:
        account.earned_by_year[year] = account.earned_by_year.get(year, 0) + points
    else:
        account.add_debits({year: -points})
    account.post("adjustment", points, cause_id=str(adjustment.adjustment_id))
    account.correct_expiry()


def credited_by_year(adjustments: Iterable[Adjustment]) -> Years:
    """What posted adjustments gave, by civil year."""
    return by_year((us, points) for us, points in _posted(adjustments) if points > 0)


def debited_by_year(adjustments: Iterable[Adjustment]) -> Years:
    """What posted adjustments took, by civil year."""
    return by_year((us, -points) for us, points in _posted(adjustments) if points < 0)


def _posted(adjustments: Iterable[Adjustment]) -> Iterable[tuple[int, int]]:
    for each in adjustments:
        if each.state == "posted" and each.decided_us is not None:
            yield each.decided_us, each.points
