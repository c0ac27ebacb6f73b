"""What a handler gets: the database connection of its batch, and what it may leave behind with it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import asyncpg

from eventing import dead_letters, outbox
from eventing.database import Connection
from eventing.dead_letters import Refusal
from eventing.envelope import Event
from eventing.failures import StartOver
from eventing.records import Message


class Transaction:
    """One batch's open transaction. Dead letters and messages are collected and written after the handler returns.

    Where nothing is to be published, as in a rebuild, `publishes` is False, and a handler need not make messages. After
    an attempt that ended in StartOver, `starts_over` is True, and a handler takes nothing for granted.
    """

    def __init__(self, conn: Connection, *, publishes: bool = True, starts_over: bool = False) -> None:
        self.conn = conn
        self.publishes = publishes
        self.starts_over = starts_over
        self._refusals: list[Refusal] = []
        self._messages: list[Message] = []
        self._ignored: dict[tuple[int, int], str] = {}

    @property
    def refusals(self) -> Sequence[Refusal]:
        """The dead letters collected so far."""
        return self._refusals

    def dead_letter(self, event: Event, reason: str, detail: str) -> None:
        """Keeps `event` for an operator to decide; `reason` is a stable snake_case code."""
        self.refuse(Refusal(event.record, event, reason, detail))

    def refuse(self, refusal: Refusal) -> None:
        """Keeps a record that may not even be an event."""
        self._refusals.append(refusal)

    @property
    def ignored(self) -> Mapping[tuple[int, int], str]:
        """(partition, offset) of the events that took no effect on purpose -> the outcome they are counted as."""
        return self._ignored

    def ignore(self, event: Event, outcome: str) -> None:
        """Counts `event` as `outcome` (a stable snake_case code) instead of as applied."""
        self._ignored[event.record.partition, event.record.offset] = outcome

    def publish(self, message: Message) -> None:
        """Publishes `message` once this transaction has committed, in the order of the calls."""
        self._messages.append(message)

    @contextmanager
    def taking_for_new(self) -> Iterator[None]:
        """Around adding rows that were taken for new without a look: if one is known, the batch starts over."""
        try:
            yield
        except asyncpg.UniqueViolationError as violation:
            if self.starts_over:
                raise
            raise StartOver("a row that was taken for new is known") from violation

    async def flush(self) -> None:
        """Writes what was collected. The outbox row comes last, when every lock is held: see outbox.py."""
        await dead_letters.insert(self.conn, self._refusals)
        await outbox.enqueue(self.conn, self._messages)
