"""A member's timeline from their whole history at once (rules 3.5, 3.6)."""

from collections.abc import Sequence

from programme.levels import KnownPurchase, KnownReturn, replay, timeline_of
from programme.terms import Programme
from programme.timeline import Timeline

__all__ = ["KnownPurchase", "KnownReturn", "fold"]


def fold(programme: Programme, purchases: Sequence[KnownPurchase], returns: Sequence[KnownReturn]) -> Timeline:
    """The timeline of a set of purchases and returns, whatever their order. Time and memory grow linearly.

    Only returns whose purchase is among `purchases`: one that waits has no effect.
    """
    return timeline_of(replay(programme, purchases, returns))
