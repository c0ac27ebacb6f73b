"""One request, one transaction, committed before the response leaves.

The pool is opened while the process already runs, so that it can start before its database and outlive an outage
of it: until there is a connection every request that needs one gets a 503 problem.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated, Literal, cast

import asyncpg
import structlog
from fastapi import Depends, Request

from webapi.auth import authenticated
from webapi.connections import Connections, is_lost
from webapi.problems import Malformed, Unavailable

log = structlog.get_logger(__name__)

Connection = asyncpg.Connection
PoolFactory = Callable[[], Awaitable["asyncpg.Pool[asyncpg.Record]"]]

ACQUIRE_TIMEOUT_SECONDS = 2.0
CLOSE_TIMEOUT_SECONDS = 5.0
FIRST_RETRY_SECONDS = 0.25
LONGEST_RETRY_SECONDS = 5.0

# Not the fault of the statement but of the server, the way to it or its other users: it may work when sent again.
TRANSIENT = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # shutting down, starting up, statement timeout
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,  # deadlock, serialization failure
    asyncpg.LockNotAvailableError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    TimeoutError,  # asyncpg's own, when the server has fallen silent
)
# Getting and giving back a connection: no statement of ours is involved, so whatever it is, the way is at fault.
LOST = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)


async def prepared(
    pool: "asyncpg.Pool[asyncpg.Record]",
    prepare: Callable[[Connection], Awaitable[None]],
    hopeless: type[Exception],
) -> "asyncpg.Pool[asyncpg.Record]":
    """`pool` after `prepare`, before any request; if it fails, the pool is closed and opened anew later.

    `hopeless` ends the process, with its text as one line: only an operator can help.
    """
    try:
        async with pool.acquire() as connection:
            await prepare(cast(Connection, connection))
    except hopeless as why:
        log.critical("api_stopped", why=str(why))
        # No request was taken yet, and SystemExit out of a task of the server would be a page of stack traces.
        os._exit(1)
    except BaseException:
        pool.terminate()
        raise
    return pool


class Database:
    """The process's pool of connections, opened and kept by `opened()`."""

    def __init__(self, open_pool: PoolFactory) -> None:
        self._open_pool = open_pool
        self._connections: Connections | None = None

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Hold the pool open; entering does not wait for the server."""
        opening = asyncio.create_task(self._open())
        try:
            yield
        finally:
            opening.cancel()
            await asyncio.wait([opening])
            await self._close()

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection of the pool. Raises Unavailable when there is none in time or the server fails it."""
        connections = self._connections
        if connections is None:
            raise Unavailable("the database is not reachable")
        connection = connections.at_hand() or await _acquired(connections)
        kept = False
        try:
            yield connection
            kept = connections.keep(connection)
        except TRANSIENT as error:
            raise Unavailable("the database could not do it just now") from error
        except asyncpg.InterfaceError as error:
            if not is_lost(connection):
                raise
            raise Unavailable("the database connection was lost") from error
        except asyncpg.DataError as error:
            if not _is_unstorable_text(error):
                raise
            raise Malformed("a text holds a character that cannot be stored") from error
        finally:
            if not kept:  # what happened is settled by now; a connection that breaks only here is the pool's to replace
                with contextlib.suppress(*LOST):
                    await connections.release(connection)

    @contextlib.asynccontextmanager
    async def transaction(self, mode: Literal["write", "snapshot"] = "write") -> AsyncIterator[Connection]:
        """A connection in a transaction that commits at the end; a "snapshot" reads one instant and only reads."""
        async with self.connection() as connection:
            if mode == "write":
                transaction = connection.transaction()
            else:
                transaction = connection.transaction(isolation="repeatable_read", readonly=True)
            async with transaction:
                yield connection

    async def _open(self) -> None:
        """Try until it works; each new reason for not working is one line in the log."""
        delay, told = FIRST_RETRY_SECONDS, ""
        while True:
            try:
                self._connections = Connections(await self._open_pool())
            except Exception as error:  # whatever it is, it is mended elsewhere, and meanwhile we are not ready
                reason = f"{type(error).__name__}: {error}"
                if reason != told:
                    log.warning("database not reachable, waiting for it", reason=reason)
                told = reason
            else:
                log.info("database reachable")
                return
            await asyncio.sleep(delay)
            delay = min(2 * delay, LONGEST_RETRY_SECONDS)

    async def _close(self) -> None:
        if self._connections is None:
            return
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
                await self._connections.close()
        except TimeoutError:
            self._connections.terminate()


async def _acquired(connections: Connections) -> Connection:
    try:
        return await connections.acquire(ACQUIRE_TIMEOUT_SECONDS)
    except LOST as error:
        raise Unavailable("no database connection is free") from error


def _is_unstorable_text(error: asyncpg.DataError) -> bool:
    """NUL and half a surrogate pair: legal in JSON, unknown to PostgreSQL."""
    refused = (asyncpg.CharacterNotInRepertoireError, asyncpg.UntranslatableCharacterError)
    return isinstance(error, refused) or isinstance(error.__cause__, UnicodeEncodeError)


def database_of(request: Request) -> Database:
    database: Database = request.app.state.database
    return database


async def _request_transaction(request: Request) -> AsyncIterator[Connection]:
    await authenticated(request)  # a stranger occupies no connection
    async with database_of(request).transaction() as connection:
        yield connection


async def _request_snapshot(request: Request) -> AsyncIterator[Connection]:
    await authenticated(request)
    async with database_of(request).transaction("snapshot") as connection:
        yield connection


# Without scope="function" the commit would follow the response, and one that fails would have been told as a success.
RequestTransaction = Annotated[Connection, Depends(_request_transaction, scope="function")]
RequestSnapshot = Annotated[Connection, Depends(_request_snapshot, scope="function")]
