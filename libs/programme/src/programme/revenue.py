"""Members by their share of the revenue (rules 3.13): A, B and C."""

from collections.abc import Mapping

from programme.calendar import months_before
from programme.terms import Abc

ABC_CLASSES = ("A", "B", "C")


def counts_from(numbers: Abc, day: int) -> int:
    """The first civil day whose purchases are in the revenue as of `day`, which is the last one."""
    return months_before(day, numbers.within_months) + 1


def abc_classes(numbers: Abc, revenue_cents: Mapping[str, int]) -> dict[str, str]:
    """The class of each member with revenue, by member_id; those without have none.

    A member is A if those before them are below A's share of the total: the one who reaches it is the last A.
    """
    ranked = sorted(
        ((member_id, cents) for member_id, cents in revenue_cents.items() if cents > 0),
        key=lambda each: (-each[1], each[0]),
    )
    total = sum(cents for _, cents in ranked)
    classes: dict[str, str] = {}
    before = 0
    for member_id, cents in ranked:
        if before * 100 < total * numbers.a_percent:
            classes[member_id] = "A"
        elif before * 100 < total * numbers.b_percent:
            classes[member_id] = "B"
        else:
            classes[member_id] = "C"
        before += cents
    return classes
