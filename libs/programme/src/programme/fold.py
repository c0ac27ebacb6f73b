"""A member's timeline from their whole history at once (rules 3.5, 3.6)."""

from collections.abc import Iterable, Mapping, Sequence

from programme.facts import Return
from programme.levels import KnownPurchase, KnownReturn, replay, timeline_of
from programme.points import eligible_cents
from programme.terms import Programme
from programme.timeline import Timeline

__all__ = ["KnownPurchase", "KnownReturn", "fold", "judged_returns"]


def fold(programme: Programme, purchases: Sequence[KnownPurchase], returns: Sequence[KnownReturn]) -> Timeline:
    """The timeline of a set of purchases and returns, whatever their order. Time and memory grow linearly.

    Only returns whose purchase is among `purchases`: one that waits has no effect.
    """
    return timeline_of(replay(programme, purchases, returns))


def judged_returns(
    programme: Programme, occurred_us: Mapping[str, int], returns: Iterable[Return]
) -> list[KnownReturn]:
    """The returns whose purchase is known, judged by its terms; the others wait. `occurred_us` goes by purchase_id."""
    return [
        KnownReturn(
            back.purchase_id,
            back.occurred_us,
            eligible_cents(back.cents_by_class, programme.at(occurred_us[back.purchase_id])),
            back.complete,
        )
        for back in returns
        if back.purchase_id in occurred_us
    ]
