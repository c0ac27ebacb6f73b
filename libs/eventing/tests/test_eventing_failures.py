"""Which failures are waited out."""

import asyncpg
import pytest
from aiokafka.errors import (
    CommitFailedError,
    KafkaConnectionError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    NotLeaderForPartitionError,
    TopicAuthorizationFailedError,
)
from eventing.backoff import Backoff
from eventing.failures import Invalid, is_transient


def wrapped(cause: Exception) -> Exception:
    error = RuntimeError("while posting")
    error.__cause__ = cause
    return error


TRANSIENT = [
    ConnectionRefusedError(),
    TimeoutError(),
    asyncpg.ConnectionDoesNotExistError(),
    asyncpg.CannotConnectNowError(),
    asyncpg.AdminShutdownError(),
    asyncpg.TooManyConnectionsError(),
    asyncpg.DiskFullError(),
    asyncpg.DeadlockDetectedError(),
    asyncpg.SerializationError(),
    asyncpg.LockNotAvailableError(),
    asyncpg.QueryCanceledError(),
    asyncpg.IdleInTransactionSessionTimeoutError(),
    asyncpg.ReadOnlySQLTransactionError(),
    asyncpg.InterfaceError("cannot perform operation: connection is closed"),
    KafkaConnectionError(),
    KafkaTimeoutError(),
    NotLeaderForPartitionError(),
    CommitFailedError(),
    wrapped(wrapped(asyncpg.DeadlockDetectedError())),
]
OTHER = [
    Invalid("reason", "detail"),
    ValueError(),
    KeyError(),
    asyncpg.UniqueViolationError(),
    asyncpg.UndefinedColumnError(),
    asyncpg.InsufficientPrivilegeError(),
    asyncpg.DataError("invalid input for query argument"),
    asyncpg.InterfaceError("cannot perform operation: another operation is in progress"),
    MessageSizeTooLargeError(),
    TopicAuthorizationFailedError(),
    wrapped(ValueError()),
]


@pytest.mark.parametrize("error", TRANSIENT, ids=repr)
def test_what_works_later_is_transient(error: Exception) -> None:
    assert is_transient(error)


@pytest.mark.parametrize("error", OTHER, ids=repr)
def test_what_never_works_is_not(error: Exception) -> None:
    assert not is_transient(error)


def test_backoff_doubles_up_to_its_limit() -> None:
    backoff = Backoff(first_s=0.1, most_s=10.0)
    delays = [backoff.delay_s(attempt) for attempt in (0, 1, 2, 7, 1_000_000)]
    for delay, most in zip(delays, [0.1, 0.2, 0.4, 10.0, 10.0], strict=True):
        assert 0.75 * most <= delay <= most
