"""Vouchers as JSON: what the API takes and answers."""

from typing import Annotated

from programme.instants import to_datetime
from programme.terms import Programme
from pydantic import Field
from webapi.models import Instant, Model

from loyalty.parameters import CentsByClass, PurchaseId
from loyalty.vouchers.domain import Voucher, VoucherState

Code = Annotated[
    str,
    Field(
        min_length=1,
        max_length=64,
        description="As printed, hyphens and case do not matter",
        examples=["YTTV-CMQC-EGW9-CZX6"],
    ),
]


class CodeRequest(Model):
    """A voucher to look at."""

    code: Code


class BasketRequest(Model):
    """A voucher and the basket it is to pay for."""

    code: Code
    purchase_id: PurchaseId
    cents_by_class: CentsByClass


class PurchaseRequest(Model):
    """A voucher and the purchase it was to pay for."""

    code: Code
    purchase_id: PurchaseId
    cents_by_class: Annotated[
        CentsByClass | None, Field(description="Not needed here: so that one body fits all calls of a checkout")
    ] = None


class VoucherView(Model):
    """A voucher as a checkout may see it."""

    voucher_id: str
    state: VoucherState
    value_cents: int
    valid_until: Annotated[Instant, Field(description="It can be used before this instant")]
    pays_not_for: Annotated[list[str], Field(description="Product classes it may not pay for")]
    redeemed_at: Instant | None
    reserved_until: Annotated[Instant | None, Field(description="A checkout holds it for its purchase until then")]


class OwnVoucher(VoucherView):
    """A voucher as its owner may see it."""

    code: Annotated[str | None, Field(description="As printed; null unless it can still be used")]
    issued_at: Instant
    points: Annotated[int, Field(description="What it cost")]


def view(voucher: Voucher, programme: Programme, now_us: int) -> VoucherView:
    """A voucher without its code."""
    uses, held = voucher.current_uses(), voucher.reservation_at(now_us)
    state = voucher.state_at(now_us, programme)
    return VoucherView(
        voucher_id=voucher.voucher_id,
        state=state,
        value_cents=voucher.value_cents,
        valid_until=to_datetime(voucher.usable_until_us(programme)),
        pays_not_for=sorted(programme.at(now_us).voucher_pays_not_for),
        redeemed_at=to_datetime(uses[0].since_us) if uses else None,
        reserved_until=to_datetime(held.until_us) if held is not None and state == "reserved" else None,
    )


def own_view(voucher: Voucher, code: str, programme: Programme, now_us: int) -> OwnVoucher:
    """A voucher for its owner's eyes, with its code while it can be used."""
    seen = view(voucher, programme, now_us)
    return OwnVoucher(
        **{name: getattr(seen, name) for name in VoucherView.model_fields},
        code=code if seen.state in ("open", "reserved") else None,
        issued_at=to_datetime(voucher.issued_us),
        points=voucher.points,
    )
