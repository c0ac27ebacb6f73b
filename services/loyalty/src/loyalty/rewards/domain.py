"""A product that points bought, and what all of a member's rewards cost by year. Everything here is pure."""

from collections.abc import Iterable
from itertools import chain
from typing import NamedTuple

from programme.calendar import civil_year

from loyalty.vouchers.domain import Voucher


class ProductOrder(NamedTuple):
    """A product ordered for points. It costs them from its order on, for good."""

    order_no: int
    account_no: int
    reward: str
    sku: str
    name: str
    points: int
    ordered_us: int

    @property
    def order_id(self) -> str:
        """How people, events and ledger entries name it."""
        return f"product-{self.order_no}"

    def charges_by_year(self) -> dict[int, int]:
        """The points it costs, by the civil year they are dated, for expiry (rules 3.9)."""
        return {civil_year(self.ordered_us): self.points}

    def is_known_at(self, us: int | None) -> bool:
        """Whether it was ordered by an instant; always without one."""
        return us is None or self.ordered_us <= us


def debited_by_year(vouchers: Iterable[Voucher], products: Iterable[ProductOrder]) -> dict[int, int]:
    """What vouchers and products cost in all, by civil year, without zeros."""
    sums: dict[int, int] = {}
    for charges in chain(
        (voucher.charges_by_year() for voucher in vouchers), (product.charges_by_year() for product in products)
    ):
        for year, points in charges.items():
            sums[year] = sums.get(year, 0) + points
    return {year: points for year, points in sums.items() if points}
