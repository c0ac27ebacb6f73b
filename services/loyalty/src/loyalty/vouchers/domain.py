"""What a voucher is at an instant (rules 3.10), as far as the API's own redemptions tell."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

from programme.calendar import boundary_us, civil_year
from programme.terms import Terms

VoucherState = Literal["open", "redeemed", "expired"]


class Redemption(NamedTuple):
    """One use of a voucher through the API."""

    purchase_id: str
    redeemed_us: int


class Voucher(NamedTuple):
    """A voucher and its redemption, read under its owner's lock when it is to change."""

    voucher_no: int
    voucher_id: str
    key_version: int
    account_no: int
    reward: str
    value_cents: int
    points: int
    issued_us: int
    valid_until_us: int
    redemption: Redemption | None = None

    def state_at(self, at_us: int) -> VoucherState:
        """Its state at an instant."""
        if self.redemption is not None:
            return "redeemed"
        return "open" if at_us < self.valid_until_us else "expired"


def valid_until_us(issued_us: int, valid_years: int) -> int:
    """The first instant a voucher is no longer valid: midnight after 31 December of the last year it is."""
    return boundary_us(civil_year(issued_us) + valid_years + 1)


def payable_cents(cents_by_class: Mapping[str, int], terms: Terms) -> int:
    """The cents of a basket that a voucher may pay for."""
    return sum(cents for name, cents in cents_by_class.items() if name not in terms.voucher_pays_not_for)
