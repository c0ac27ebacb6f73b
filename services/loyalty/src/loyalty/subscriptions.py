"""Which event calls which handler, on one screen."""

from typing import Any

from eventing.envelope import Event
from eventing.failures import Invalid
from eventing.forgotten import Secret
from eventing.subscription import Subscription
from programme.facts import PURCHASE_COMPLETED, PURCHASE_RETURNED, Purchase, Refused, Return, accept
from programme.terms import Programme
from programme.timeline import CUSTOMER_STATUS_CHANGED, TimelineChanged, decode_timeline

from loyalty.points.service import ApplyTimelines, PostPurchases

PURCHASES = "kundenclub.purchases"
CUSTOMER_STATUS = "kundenclub.customer-status"


def subscriptions(programme: Programme, secret: Secret) -> list[Subscription[Any]]:
    """Everything the worker listens to; `secret` tells who was erased."""
    return [
        Subscription(
            PURCHASES,
            types=frozenset({PURCHASE_COMPLETED, PURCHASE_RETURNED}),
            decode=_purchase_or_return,
            apply=PostPurchases(programme, secret),
        ),
        Subscription(
            CUSTOMER_STATUS,
            types=frozenset({CUSTOMER_STATUS_CHANGED}),
            decode=_timeline,
            apply=ApplyTimelines(programme, secret),
            tombstones=True,
        ),
    ]


def _purchase_or_return(event: Event) -> Purchase | Return | None:
    record = event.record
    try:
        return accept(event.type, event.data, record.key, record.timestamp_us)
    except Refused as refused:
        raise Invalid(refused.reason, refused.detail) from None


def _timeline(event: Event) -> TimelineChanged:
    try:
        return decode_timeline(event.data, event.record.key)
    except Refused as refused:
        raise Invalid(refused.reason, refused.detail) from None
