"""The pool's connections, kept at hand from one request to the next.

asyncpg's pool starts a task for every connection that it is given back, makes a proxy for every one it hands out, and
sets a timer: together a tenth of what a simple request costs. So what was used well goes straight to whoever is next,
and the pool opens connections, and takes back those that something happened to.
"""

import asyncio
from collections import deque
from typing import cast

import asyncpg
from asyncpg.pool import PoolConnectionProxy


class Connections:
    """At most as many as the pool has; the one used last is handed out first, so that no more are open than needed."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._pool = pool
        self._closing = False
        self._kept: list[asyncpg.Connection] = []
        self._unopened = pool.get_max_size()
        self._waiting: deque[asyncio.Future[asyncpg.Connection | None]] = deque()

    def at_hand(self) -> asyncpg.Connection | None:
        """An open connection, if there is one that nobody waits for."""
        if self._kept and not is_lost(self._kept[-1]):
            return self._kept.pop()
        return None

    async def acquire(self, seconds: float) -> asyncpg.Connection:
        """Wait so long for one, behind all who wait already. Raises TimeoutError and what connecting raises."""
        kept = await self._place(seconds)
        if kept is not None and not is_lost(kept):
            return kept
        try:
            async with asyncio.timeout(seconds):  # the pool's own would be a task more
                if kept is not None:
                    await self._pool.release(cast(PoolConnectionProxy, kept))
                return cast(asyncpg.Connection, await self._pool.acquire())
        except BaseException:
            self._pass_on(None)
            raise

    async def _place(self, seconds: float) -> asyncpg.Connection | None:
        """A connection that was kept, or the right to ask the pool for one."""
        if self._kept:
            return self._kept.pop()
        if self._unopened:
            self._unopened -= 1
            return None
        loop = asyncio.get_running_loop()
        place: asyncio.Future[asyncpg.Connection | None] = loop.create_future()
        self._waiting.append(place)
        patience = loop.call_later(seconds, _end, place)
        try:
            return await place
        except asyncio.CancelledError:
            if not place.cancelled() and place.exception() is None:  # it was handed over in the moment of giving up
                self._pass_on(place.result())
            raise
        finally:
            patience.cancel()

    def _pass_on(self, kept: asyncpg.Connection | None) -> None:
        """To who has waited longest, who would have to wait longer if it went by way of those who come just now."""
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(kept)
                return
        if kept is None:
            self._unopened += 1
        else:
            self._kept.append(kept)

    def keep(self, connection: asyncpg.Connection) -> bool:
        """Give one back that was used well; whether it is as it was. If not, it is `release` that takes it."""
        try:
            if self._closing or connection.is_in_transaction():
                return False
        except asyncpg.InterfaceError:  # the pool has already taken back what broke
            return False
        self._pass_on(connection)
        return True

    async def release(self, connection: asyncpg.Connection) -> None:
        """Give one back that something may have happened to: what was begun is rolled back. Raises what that raises."""
        try:
            await self._pool.release(cast(PoolConnectionProxy, connection))
        finally:
            self._pass_on(None)

    async def close(self) -> None:
        """Close all, those in use as soon as they are given back."""
        self._closing = True
        while self._kept:
            await self._pool.release(cast(PoolConnectionProxy, self._kept.pop()))
        await self._pool.close()

    def terminate(self) -> None:
        """Cut off all that are still open."""
        self._pool.terminate()


def is_lost(connection: asyncpg.Connection) -> bool:
    """Whether it is closed."""
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:  # the pool has already taken back what broke
        return True


def _end(place: "asyncio.Future[asyncpg.Connection | None]") -> None:
    if not place.done():
        place.set_exception(TimeoutError())
