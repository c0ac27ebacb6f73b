"""Which event calls which handler."""

from typing import Any

from eventing.subscription import Subscription
from programme.facts import PURCHASE_COMPLETED, PURCHASE_RETURNED
from programme.terms import Programme

from customer_status.events import MEMBER_JOINED, MEMBERS_TOPIC, PURCHASES_TOPIC, read_fact, read_joined
from customer_status.tiers.service import TakePurchases, join_members


def subscriptions(programme: Programme) -> list[Subscription[Any]]:
    """All subscriptions of the worker."""
    return [
        Subscription(
            PURCHASES_TOPIC,
            types=frozenset({PURCHASE_COMPLETED, PURCHASE_RETURNED}),
            decode=read_fact,
            apply=TakePurchases(programme),
        ),
        Subscription(
            MEMBERS_TOPIC,
            types=frozenset({MEMBER_JOINED}),
            decode=read_joined,
            apply=join_members,
            tombstones=True,
        ),
    ]
