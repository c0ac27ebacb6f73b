"""What a service does with the events of one topic."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from eventing.envelope import Event
from eventing.transaction import Transaction

T = TypeVar("T")


class Decoded(NamedTuple, Generic[T]):
    """An accepted event and what its service made of it."""

    event: Event
    value: T


@dataclass(frozen=True)
class Subscription(Generic[T]):
    """`decode` judges one event without I/O: a value, None to skip it (counted), or Invalid for a dead letter.

    `apply` gets a batch in log order per partition, inside the transaction that moves the progress. It may be called
    again for the same events after a rollback, and with one event at a time after a failure. Events of other `types`
    are counted and skipped; so are records without a value where `tombstones` are expected. Of a topic that `deletes`
    its events after a time, those are passed over that were gone before they were read: by then they are worth nothing.
    """

    topic: str
    types: frozenset[str]
    decode: Callable[[Event], T | None]
    apply: Callable[[Transaction, Sequence[Decoded[T]]], Awaitable[None]]
    tombstones: bool = False
    deletes: bool = False
