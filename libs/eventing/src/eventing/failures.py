"""Three kinds of failure: invalid (never works), transient (works later), unknown (everything else)."""

from collections.abc import Iterator
from typing import Final

import asyncpg
from aiokafka.errors import CommitFailedError, KafkaConnectionError, KafkaError, KafkaTimeoutError

UNKNOWN_FAILURE: Final = "unknown_failure"

# Lock and statement timeouts are here because a busy database must not drain a topic into the dead letters.
_TRANSIENT_DATABASE: Final = (
    asyncpg.PostgresConnectionError,  # class 08
    asyncpg.InsufficientResourcesError,  # class 53: disk full, out of memory, too many connections
    asyncpg.OperatorInterventionError,  # class 57: shutdown, crash, statement timeout
    asyncpg.TransactionRollbackError,  # class 40: deadlock, serialization
    asyncpg.LockNotAvailableError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.ReadOnlySQLTransactionError,  # connected to a standby during a failover
)
_TRANSIENT_KAFKA: Final = (KafkaConnectionError, KafkaTimeoutError, CommitFailedError)


class Invalid(Exception):
    """An event that can never be accepted: it becomes a dead letter. `reason` is a stable snake_case code."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class StartOver(Exception):
    """A handler found after locking that it needs more locks, or that something it took for granted is not so: roll
    back and try the batch again, it knows more then.
    """


class WorkerStopped(Exception):
    """The worker cannot go on until an operator decides; the text says what happened and where."""


def is_transient(error: BaseException) -> bool:
    """Whether the same work is expected to succeed later: database or broker away, overloaded or failing over.

    An error raised `from` a transient one counts as transient.
    """
    return any(_transient_itself(cause) for cause in _chain(error))


def _chain(error: BaseException) -> Iterator[BaseException]:
    current: BaseException | None = error
    for _ in range(10):
        if current is None:
            return
        yield current
        current = current.__cause__


def _transient_itself(error: BaseException) -> bool:
    if isinstance(error, KafkaError):
        return bool(error.retriable) or isinstance(error, _TRANSIENT_KAFKA)
    if isinstance(error, asyncpg.InterfaceError):
        return "closed" in str(error)  # asyncpg has no class of its own for using a lost connection
    return isinstance(error, (*_TRANSIENT_DATABASE, StartOver, OSError, TimeoutError))
