"""The liability report as JSON, for HTTP and the command line."""

from typing import Annotated

from programme.calendar import boundary_us
from programme.instants import to_datetime
from programme.terms import LEVELS
from pydantic import Field
from webapi.models import Instant, Model

from loyalty.reports.domain import Heap, Liability


class ExpiringView(Model):
    """Points that expire at one instant unless they are spent before."""

    expires_at: Instant
    points: int
    value_cents: int
    points_by_level: dict[str, int]


class LevelPointsView(Model):
    """Points of members of one level, by their level at the report's moment."""

    level: str
    points: int
    value_cents: int


class AccountsView(Model):
    """Some accounts."""

    accounts: int
    points: int


class VouchersView(Model):
    """Vouchers that can still be used, by the civil year in which they end."""

    year: Annotated[int, Field(description="The last civil year they can be used in")]
    count: int
    value_cents: int


class LedgerView(Model):
    """How the report follows from the ledger: entries - later - unposted expiry = points + negative points."""

    entry_points: Annotated[int, Field(description="The sum of all entries there are")]
    later_points: Annotated[int, Field(description="... of what happened after the report's moment")]
    unposted_expiry_points: Annotated[int, Field(description="Expired by then, not yet posted; below 0: posted since")]
    balance_points: Annotated[int, Field(description="What is left: the sum of all balances at the moment")]
    differing_accounts: Annotated[int, Field(description="Accounts whose entries are not what they got and gave")]
    difference_points: int
    is_reconciled: Annotated[bool, Field(description="False: do not use the report, run `loyalty verify`")]


class LiabilityView(Model):
    """What the club owes its members at a moment. Values are rounded down, each by itself."""

    at: Instant
    points: Annotated[int, Field(description="All that members could spend; nameless accounts included")]
    value_cents: int
    rate_points: Annotated[int, Field(description="So many points ...")]
    rate_cents: Annotated[int, Field(description="... are worth so many cents: the voucher that gives most for them")]
    by_expiry: list[ExpiringView]
    by_level: list[LevelPointsView]
    negative: Annotated[AccountsView, Field(description="Balances below zero, not in `points`")]
    nameless: Annotated[AccountsView, Field(description="Accounts of erased members, whose points nobody can spend")]
    open_vouchers: list[VouchersView]
    open_vouchers_cents: int
    ledger: LedgerView


def liability_view(found: Liability) -> LiabilityView:
    """The report."""
    rate = found.rate
    return LiabilityView(
        at=to_datetime(found.at_us),
        points=found.points,
        value_cents=found.value_cents(found.points),
        rate_points=0 if rate is None else rate.points,
        rate_cents=0 if rate is None else rate.value_cents,
        by_expiry=[_expiring(found, int(year), points) for year, points in found.by("year").items()],
        by_level=[
            LevelPointsView(level=level, points=points, value_cents=found.value_cents(points))
            for level in LEVELS
            for points in [found.by("level").get(level, 0)]
        ],
        negative=AccountsView(accounts=found.negative_accounts, points=found.negative_points),
        nameless=AccountsView(accounts=found.nameless_accounts, points=found.nameless_points),
        open_vouchers=[
            VouchersView(year=year, count=count, value_cents=found.voucher_cents[year])
            for year, count in sorted(found.voucher_counts.items())
        ],
        open_vouchers_cents=sum(found.voucher_cents.values()),
        ledger=LedgerView(
            entry_points=found.entry_points,
            later_points=found.later_points,
            unposted_expiry_points=found.unposted_expiry_points,
            balance_points=found.points + found.negative_points,
            differing_accounts=found.differing_accounts,
            difference_points=found.difference_points,
            is_reconciled=found.is_reconciled,
        ),
    )


def _expiring(found: Liability, year: int, points: int) -> ExpiringView:
    return ExpiringView(
        expires_at=to_datetime(boundary_us(year)),
        points=points,
        value_cents=found.value_cents(points),
        points_by_level={level: found.heaps[Heap(year, level)] for level in LEVELS},
    )
