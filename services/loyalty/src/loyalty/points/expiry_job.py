"""Writes down what has expired (rules 3.9). Balances are right without it, so it may be late, killed or run twice."""

import asyncio
import time
from collections.abc import Callable

import asyncpg
import structlog
from eventing.backoff import Backoff, is_set_within
from eventing.database import close, connect
from eventing.failures import is_transient
from eventing.outbox import enqueue
from programme.calendar import civil_year

from loyalty.events import points_posted
from loyalty.points import store

log = structlog.get_logger(__name__)

NUMBERS_AT_ONCE = 500
REST_S = 0.05
LOOK_EVERY_S = 600.0

Clock = Callable[[], int]


def now_us() -> int:
    """The time, microseconds since the epoch."""
    return time.time_ns() // 1000


async def post_due_expiry(conn: asyncpg.Connection, at_us: int, after_no: int = 0) -> int | None:
    """Post what had expired at `at_us` to the accounts whose numbers come next after `after_no`, in one transaction.

    Returns the number to go on after, None behind the last one.
    """
    to_no = after_no + NUMBERS_AT_ONCE
    async with conn.transaction():
        numbers = await store.accounts_behind(conn, civil_year(at_us), after_no, to_no)
        if numbers:
            accounts = await store.lock_accounts(conn, (), numbers)
            for account in accounts:
                account.post_expiry(at_us)
            messages = [message for account in accounts for message in points_posted(account)]
            await store.write_accounts(conn, accounts)
            await enqueue(conn, messages)
        return to_no if to_no < await store.highest_account_no(conn) else None


class ExpiryJob:
    """A part of the worker: one pass over all accounts after it starts and after each new year, as new accounts have
    nothing to post. It goes by account numbers, a few hundred at a time with a rest between, so posting waits little.
    """

    def __init__(self, database_url: str, clock: Clock = now_us) -> None:
        self._database_url = database_url
        self._clock = clock
        self._backoff = Backoff(first_s=1.0, most_s=60.0)
        self._done_year = 0
        self._next: int | None = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Runs until `stop` is set. A pass that fails goes on where it was; an account that cannot be read holds up
        only those around it, and is told.
        """
        failures = 0
        while not stop.is_set():
            wait_s = LOOK_EVERY_S
            try:
                await self._pass(stop)
                failures = 0
            except Exception as error:
                if not is_transient(error) and self._next is not None:
                    log.exception("expiry_not_posted", after_account_no=self._next)
                    self._next += NUMBERS_AT_ONCE
                wait_s, failures = self._backoff.delay_s(failures), failures + 1
            await is_set_within(stop, wait_s)

    async def _pass(self, stop: asyncio.Event) -> None:
        at_us = self._clock()
        if self._done_year == civil_year(at_us):
            return
        conn = await connect(self._database_url, application_name="loyalty-expiry", posting=True)
        try:
            while self._next is not None and not stop.is_set():
                self._next = await post_due_expiry(conn, at_us, self._next)
                await is_set_within(stop, REST_S)
        finally:
            await close(conn)
        if self._next is None:
            self._done_year, self._next = civil_year(at_us), 0
