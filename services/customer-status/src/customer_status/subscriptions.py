"""Which event calls which handler."""

from typing import Any

from eventing.forgotten import Secret
from eventing.subscription import Subscription
from programme.facts import PURCHASE_COMPLETED, PURCHASE_RETURNED
from programme.terms import Programme

from customer_status.contacts.notices import TYPES, TakeNotices, read_notice
from customer_status.erasure.service import TakeMembers
from customer_status.events import (
    LOYALTY_TOPIC,
    MEMBER_ERASED,
    MEMBER_JOINED,
    MEMBERS_TOPIC,
    PURCHASES_TOPIC,
    read_fact,
    read_member,
)
from customer_status.tiers.service import TakePurchases


def all_subscriptions(programme: Programme, secret: Secret) -> list[Subscription[Any]]:
    """All subscriptions of the worker: what a rebuild reads again too, and what loyalty tells of what ends soon."""
    return [
        *subscriptions(programme, secret),
        Subscription(LOYALTY_TOPIC, types=TYPES, decode=read_notice, apply=TakeNotices(secret), deletes=True),
    ]


def subscriptions(programme: Programme, secret: Secret) -> list[Subscription[Any]]:
    """Those that make members, purchases and levels, from topics that are kept; `secret` tells who was erased."""
    return [
        Subscription(
            PURCHASES_TOPIC,
            types=frozenset({PURCHASE_COMPLETED, PURCHASE_RETURNED}),
            decode=read_fact,
            apply=TakePurchases(programme, secret),
        ),
        Subscription(
            MEMBERS_TOPIC,
            types=frozenset({MEMBER_JOINED, MEMBER_ERASED}),
            decode=read_member,
            apply=TakeMembers(secret),
            tombstones=True,
        ),
    ]
