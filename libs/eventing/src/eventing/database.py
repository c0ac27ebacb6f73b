"""Connections to the service's database, with every session limit set."""

from typing import Any, Final
from urllib.parse import urlsplit

import asyncpg

Connection = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy

CONNECT_TIMEOUT_S: Final = 10.0
CLOSE_TIMEOUT_S: Final = 3.0
COMMAND_TIMEOUT_S: Final = 60.0  # beyond the server's own limits: for a server that no longer answers at all

LONG_STATEMENT_S: Final = 600.0
_LIMITS: Final = {
    "statement_timeout": "30s",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "30s",
}
# Posting reads a few rows by key out of large tables, with large arrays: without these two settings the planner
# answers that with hash joins over the whole table, or compiles a plan that runs once.
_POSTING: Final = {"jit": "off", "enable_seqscan": "off"}


async def connect(
    url: str, *, application_name: str, posting: bool = False, idle_session_timeout_s: float | None = None
) -> asyncpg.Connection:
    """Opens a connection with statement, lock and idle limits; `posting` tunes it for batches of events.

    With `idle_session_timeout_s` the server ends the session when nothing was heard of it for so long.
    """
    settings = _LIMITS | (_POSTING if posting else {}) | {"application_name": application_name}
    if idle_session_timeout_s is not None:
        settings["idle_session_timeout"] = f"{round(idle_session_timeout_s * 1000)}ms"
    return await asyncpg.connect(url, server_settings=settings, **_timeouts())


class DatabaseAway(ConnectionError):
    """No connection to the database; the text says where it was looked for and why there is none."""

    def __init__(self, url: str, error: Exception) -> None:
        parts = urlsplit(url)
        place = f" at {parts.hostname}:{parts.port or 5432}" if parts.hostname else ""
        super().__init__(f"no connection to the database{place}: {error or type(error).__name__}")


async def connect_or_explain(url: str, *, application_name: str) -> asyncpg.Connection:
    """The same for a command. Raises DatabaseAway."""
    try:
        return await connect(url, application_name=application_name)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise DatabaseAway(url, error) from None


async def open_pool(url: str, *, application_name: str, min_size: int, max_size: int) -> asyncpg.Pool:
    """Opens a pool of `min_size` to `max_size` connections with the same limits as `connect`.

    Whoever uses one leaves nothing behind in its session: settings and locks end with their transaction.
    """
    return await asyncpg.create_pool(
        url,
        min_size=min_size,
        max_size=max_size,
        server_settings=_LIMITS | {"application_name": application_name},
        reset=_reset_nothing,
        **_timeouts(),
    )


async def _reset_nothing(conn: asyncpg.Connection) -> None:
    """In place of asyncpg's own statement, a way to the server and back after each use. A transaction left open is
    rolled back all the same.
    """


def _timeouts() -> dict[str, Any]:
    return {"timeout": CONNECT_TIMEOUT_S, "command_timeout": COMMAND_TIMEOUT_S}


class Session:
    """The one connection of a worker, opened again after it broke."""

    def __init__(self, url: str, *, application_name: str) -> None:
        self._url = url
        self._application_name = application_name
        self._conn: asyncpg.Connection | None = None

    async def connection(self) -> asyncpg.Connection:
        """The open connection. Raises what connecting raises."""
        if self._conn is None or self._conn.is_closed():
            self._conn = await connect(self._url, application_name=self._application_name, posting=True)
        return self._conn

    def is_broken(self) -> bool:
        """Whether the last connection handed out is closed, so that what failed on it may work on another."""
        return self._conn is not None and self._conn.is_closed()

    async def close(self) -> None:
        """Closes the connection, at once if the server does not answer."""
        if self._conn is not None:
            await close(self._conn)


async def close(conn: asyncpg.Connection) -> None:
    """Says good-bye to the server, but not for longer than it takes a healthy one to answer."""
    try:
        await conn.close(timeout=CLOSE_TIMEOUT_S)
    except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        conn.terminate()


async def allow_long_statements(conn: Connection) -> None:
    """Lifts the limit of a statement for this transaction: looking at everything takes longer than at one batch.

    Give the statements `timeout=LONG_STATEMENT_S` too.
    """
    await conn.execute(f"SET LOCAL statement_timeout = {round(LONG_STATEMENT_S * 1000)}")
