"""Writes down what has expired (rules 3.9). Balances are right without it, so it may be late, killed or run twice."""

import asyncio
import time
from collections.abc import Callable

import asyncpg
import structlog
from eventing.backoff import Backoff, is_set_within
from eventing.database import close, connect
from eventing.outbox import enqueue
from programme.calendar import civil_year

from loyalty.events import points_posted
from loyalty.points import store

log = structlog.get_logger(__name__)

ACCOUNTS_AT_ONCE = 200
LOOK_EVERY_S = 3600.0
REST_S = 0.05

Clock = Callable[[], int]


def now_us() -> int:
    """The time, microseconds since the epoch."""
    return time.time_ns() // 1000


async def post_due_expiry(conn: asyncpg.Connection, at_us: int, after_no: int = 0) -> int | None:
    """Post what had expired at `at_us` to the next accounts above `after_no`, in one transaction.

    Returns the last of their numbers, None if there were none left.
    """
    async with conn.transaction():
        numbers = await store.accounts_behind(conn, civil_year(at_us), after_no, ACCOUNTS_AT_ONCE)
        if not numbers:
            return None
        await store.lock_accounts(conn, (), numbers)
        accounts = list((await store.read_owners(conn, numbers)).values())
        for account in accounts:
            account.post_expiry(at_us)
        messages = [message for account in accounts for message in points_posted(account)]
        await store.write_accounts(conn, accounts)
        await enqueue(conn, messages)
    return numbers[-1]


class ExpiryJob:
    """A part of the worker: looks every hour, and finds work after each new year. It rests after every batch, so that
    posting waits little for it.
    """

    def __init__(self, database_url: str, clock: Clock = now_us) -> None:
        self._database_url = database_url
        self._clock = clock
        self._backoff = Backoff(first_s=1.0, most_s=60.0)

    async def run(self, stop: asyncio.Event) -> None:
        """Runs until `stop` is set; a failure is only tried again."""
        failures = 0
        while not stop.is_set():
            try:
                await self._post_all(stop)
                failures, wait_s = 0, LOOK_EVERY_S
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
                log.warning("expiry_job_tries_again", error=repr(error), failures_in_row=failures)
                failures, wait_s = failures + 1, self._backoff.delay_s(failures)
            await is_set_within(stop, wait_s)

    async def _post_all(self, stop: asyncio.Event) -> None:
        conn = await connect(self._database_url, application_name="loyalty-expiry", posting=True)
        try:
            last_no: int | None = 0
            while last_no is not None and not stop.is_set():
                last_no = await post_due_expiry(conn, self._clock(), last_no)
                await is_set_within(stop, REST_S)
        finally:
            await close(conn)
