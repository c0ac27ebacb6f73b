"""Recommends contacts that are due (rules 3.17). What is due is a function of what is known and of the moment, and what
was told is remembered: so this may be late, killed, or run by several workers at once.
"""

import asyncio
import time
from collections.abc import Callable

import asyncpg
import structlog
from eventing.backoff import Backoff, is_set_within
from eventing.database import close, connect
from eventing.failures import is_transient
from programme.terms import Programme

from customer_status.contacts import store
from customer_status.contacts.service import tell_due

log = structlog.get_logger(__name__)

NUMBERS_AT_ONCE = 20_000
LOOKS_AT_ONCE = 100
REST_PER_WORK = 2.0

Clock = Callable[[], int]


def now_us() -> int:
    """The time, microseconds since the epoch."""
    return time.time_ns() // 1000


async def tell_some(conn: asyncpg.Connection, programme: Programme, at_us: int, after_no: int = 0) -> int | None:
    """Look at the members whose numbers come next after `after_no`, in one transaction.

    Returns the number to go on after, None behind the last one.
    """
    async with conn.transaction():
        passed = await tell_due(conn, programme, at_us, after_no, after_no + NUMBERS_AT_ONCE, LOOKS_AT_ONCE)
        return passed.to_no if passed.to_no < await store.highest_watched(conn) else None


class ContactJob:
    """A part of the worker: a pass over all members who agreed to be contacted, again and again. It looks at a hundred
    of them at a time and rests twice as long as it worked, so posting waits little.
    """

    def __init__(self, database_url: str, programme: Programme, every_s: float, clock: Clock = now_us) -> None:
        self._database_url = database_url
        self._programme = programme
        self._every_s = every_s
        self._clock = clock
        self._backoff = Backoff(first_s=1.0, most_s=60.0)
        self._next: int | None = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Runs until `stop` is set. A pass that fails goes on where it was; a member who cannot be judged holds up only
        those around them, and is told.
        """
        failures = 0
        while not stop.is_set():
            wait_s = self._every_s
            try:
                await self._pass(stop)
                self._next, failures = 0, 0
            except Exception as error:
                if not is_transient(error) and self._next is not None:
                    log.exception("contacts_not_told", after_account_no=self._next)
                    self._next += LOOKS_AT_ONCE
                wait_s, failures = self._backoff.delay_s(failures), failures + 1
            await is_set_within(stop, wait_s)

    async def _pass(self, stop: asyncio.Event) -> None:
        conn = await connect(self._database_url, application_name="customer-status-contacts", posting=True)
        try:
            while self._next is not None and not stop.is_set():
                started = time.monotonic()
                self._next = await tell_some(conn, self._programme, self._clock(), self._next)
                await is_set_within(stop, REST_PER_WORK * (time.monotonic() - started))
        finally:
            await close(conn)
