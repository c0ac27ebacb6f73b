"""Members as JSON: what the API answers, and how it is made of what was read."""

from collections.abc import Mapping
from datetime import date
from typing import Annotated

from programme.instants import to_datetime
from programme.points import eligible_cents, points_of, remaining_cents
from programme.terms import LEVELS, Programme, Terms
from programme.timeline import Timeline
from pydantic import Field
from webapi.models import Instant, Model

from loyalty.members.domain import Cause, LedgerLine
from loyalty.members.service import ExplainedPurchase, Standing
from loyalty.points.domain import KnownReturn
from loyalty.points.tables import ENTRY_KINDS

Level = Annotated[str, Field(json_schema_extra={"enum": list(LEVELS)})]


class ExpiringPoints(Model):
    """Points that are lost at `at` unless they are spent before."""

    points: int
    at: Instant


class OpenVoucher(Model):
    """A voucher that can still be used."""

    voucher_id: str
    value_cents: int
    valid_until: Annotated[Instant, Field(description="It can be used before this instant")]


class MemberView(Model):
    """A member's account as of now, or as of the instants asked for."""

    member_id: str
    joined_at: Instant | None
    balance_points: Annotated[int, Field(description="Below zero after a return of points already spent")]
    level: Annotated[Level, Field(description="Of a purchase made at this moment")]
    bonus_percent: int
    points_to_next_voucher: Annotated[int | None, Field(description="null where the terms offer no voucher")]
    expiring_next: ExpiringPoints | None
    open_vouchers: list[OpenVoucher]


class CauseView(Model):
    """What an entry follows from."""

    kind: Annotated[
        str,
        Field(
            description="What `id` is: purchase, return, timeline, voucher, product (its order), adjustment, expiry"
            " (a year), rebuild"
        ),
    ]
    id: str | None
    text: Annotated[
        str,
        Field(
            description="For people, in English",
            examples=["purchase p1 of 2026-03-03 arrived late; p2 is silver now: +4"],
        ),
    ]


class EntryView(Model):
    """One ledger entry and what caused it."""

    entry_no: int
    posted_at: Instant
    kind: Annotated[str, Field(description=f"One of {', '.join(ENTRY_KINDS)}")]
    points: int
    purchase_id: str | None
    cause_id: Annotated[
        str | None,
        Field(
            description="return_id, voucher_id, order_id, adjustment_id, year of expiry, what made the level:"
            " `purchase <id>` ..."
        ),
    ]
    cause: CauseView


class ClassCents(Model):
    """What of a purchase is of one product class."""

    product_class: str
    amount_cents: int
    earns: Annotated[bool, Field(description="By the terms at the purchase")]


class ReturnView(Model):
    """Goods of the purchase given back."""

    return_id: str
    occurred_at: Instant
    received_at: Instant
    cents_by_class: dict[str, int]
    eligible_cents: Annotated[int, Field(description="By the terms of its purchase")]
    complete: Annotated[bool, Field(description="Nothing of the purchase is left, whatever the sums say")]


class RatingLevel(Model):
    """The level that rates the purchase: it holds for purchases later than `after`, null since ever."""

    level: Level
    after: Instant | None


class PointsView(Model):
    """What the purchase is worth now."""

    base: int
    bonus: int
    total: int


class PurchaseView(Model):
    """Why a purchase is worth its points."""

    member_id: str
    purchase_id: str
    occurred_at: Instant
    received_at: Instant
    terms_valid_from: Annotated[date, Field(description="The terms in force at the purchase began on this day")]
    classes: list[ClassCents]
    eligible_cents: Annotated[int, Field(description="The sum over the classes that earn, at least 0")]
    returns: Annotated[list[ReturnView], Field(description="The first 1,000 by `occurred_at`")]
    remaining_cents: Annotated[int, Field(description="Eligible cents that no return took back")]
    level: RatingLevel
    bonus_percent: int
    points: PointsView
    vouchers: Annotated[list[str], Field(description="The voucher_ids that the purchase event names")]
    entries: Annotated[list[EntryView], Field(description="Those that name the purchase, the newest 1,000 first")]


def member_view(member_id: str, standing: Standing) -> MemberView:
    """A member's standing."""
    expiring = standing.expiring_next
    return MemberView(
        member_id=member_id,
        joined_at=None if standing.joined_us is None else to_datetime(standing.joined_us),
        balance_points=standing.balance_points,
        level=standing.level,
        bonus_percent=standing.bonus_percent,
        points_to_next_voucher=None
        if standing.cheapest_voucher_points is None
        else max(0, standing.cheapest_voucher_points - standing.balance_points),
        expiring_next=None
        if expiring is None
        else ExpiringPoints(points=expiring.points, at=to_datetime(expiring.at_us)),
        open_vouchers=[
            OpenVoucher(
                voucher_id=voucher.voucher_id, value_cents=voucher.value_cents, valid_until=to_datetime(until_us)
            )
            for voucher, until_us in standing.open_vouchers
        ],
    )


def entry_view(line: LedgerLine, cause: Cause) -> EntryView:
    """One entry with its cause in words; the level is part of the words."""
    stored = line._asdict()
    del stored["level"]
    return EntryView(**stored, cause=CauseView(**cause._asdict()))


def purchase_view(member_id: str, explained: ExplainedPurchase, programme: Programme) -> PurchaseView:
    """A purchase with everything its points follow from."""
    position = explained.position
    purchase = position.purchase
    terms = programme.at(purchase.occurred_us)
    remaining = remaining_cents(position.eligible_cents, position.returned_cents, position.returned_completely)
    points = points_of(remaining, position.bonus_percent)
    return PurchaseView(
        member_id=member_id,
        purchase_id=purchase.purchase_id,
        occurred_at=to_datetime(purchase.occurred_us),
        received_at=to_datetime(position.received_us),
        terms_valid_from=terms.valid_from,
        classes=_classes(purchase.cents_by_class, terms),
        eligible_cents=position.eligible_cents,
        returns=[_return(row, terms) for row in explained.returns],
        remaining_cents=remaining,
        level=_rating(explained.timeline, purchase.occurred_us),
        bonus_percent=position.bonus_percent,
        points=PointsView(base=points.base, bonus=points.bonus, total=points.total),
        vouchers=list(purchase.vouchers),
        entries=[entry_view(*told) for told in explained.entries],
    )


def _classes(cents_by_class: Mapping[str, int], terms: Terms) -> list[ClassCents]:
    return [
        ClassCents(product_class=name, amount_cents=cents, earns=name in terms.earning_classes)
        for name, cents in cents_by_class.items()
    ]


def _return(row: KnownReturn, terms: Terms) -> ReturnView:
    return ReturnView(
        return_id=row.fact.return_id,
        occurred_at=to_datetime(row.fact.occurred_us),
        received_at=to_datetime(row.received_us),
        cents_by_class=row.fact.cents_by_class,
        eligible_cents=eligible_cents(row.fact.cents_by_class, terms),
        complete=row.fact.complete,
    )


def _rating(timeline: Timeline, occurred_us: int) -> RatingLevel:
    """The last step of the timeline that lies strictly before the purchase (rules 3.6)."""
    step = [step for step in timeline if step.after_us is None or step.after_us < occurred_us][-1]
    return RatingLevel(level=step.level, after=None if step.after_us is None else to_datetime(step.after_us))
