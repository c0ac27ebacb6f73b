"""A part of the worker that tells what ends: vouchers all the time, points in the last days of a year."""

import asyncio
from collections.abc import Sequence

import asyncpg
import structlog
from eventing.backoff import Backoff, is_set_within
from eventing.database import close, connect
from eventing.failures import is_transient
from programme.calendar import civil_day
from programme.terms import Programme

from loyalty.notices import store
from loyalty.notices.service import NUMBERS_AT_ONCE, tell_ends, tell_expiring_points
from loyalty.points.expiry_job import Clock, now_us

log = structlog.get_logger(__name__)

VOUCHERS_AT_ONCE = 200
REST_S = 0.05
LOOK_EVERY_S = 600.0

_FIRST = (0, 0)


class NoticeJob:
    """Looks at the vouchers that are due every ten minutes, at all accounts once a day while a new year is near.

    Late, stopped or run twice, by any number of workers, it tells everything once. What cannot be read is logged and
    holds up nothing else.
    """

    def __init__(self, database_url: str, programme: Programme, clock: Clock = now_us) -> None:
        self._database_url = database_url
        self._programme = programme
        self._clock = clock
        self._backoff = Backoff(first_s=1.0, most_s=60.0)
        self._done_day = 0
        self._after_no: int | None = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Runs until `stop` is set."""
        failures = 0
        while not stop.is_set():
            wait_s = LOOK_EVERY_S
            try:
                await self.look(stop)
                failures = 0
            except Exception as error:
                if not is_transient(error) and self._after_no is not None:
                    log.exception("expiring_points_not_told", after_account_no=self._after_no)
                    self._after_no += NUMBERS_AT_ONCE
                wait_s, failures = self._backoff.delay_s(failures), failures + 1
            await is_set_within(stop, wait_s)

    async def look(self, stop: asyncio.Event) -> None:
        """Tell all that is to be told now, or what of it there is time for until `stop` is set."""
        at_us = self._clock()
        conn = await connect(self._database_url, application_name="loyalty-notices", posting=True)
        try:
            await self._tell_ends(conn, at_us, stop)
            await self._tell_points(conn, at_us, stop)
        finally:
            await close(conn)

    async def _tell_ends(self, conn: asyncpg.Connection, at_us: int, stop: asyncio.Event) -> None:
        after = _FIRST
        while not stop.is_set():
            due = await store.due_vouchers(conn, at_us, after, VOUCHERS_AT_ONCE)
            if due:
                await self._tell_each([each.voucher_id for each in due], conn, at_us)
                after = due[-1].due_us, due[-1].voucher_no
            if len(due) < VOUCHERS_AT_ONCE:
                return
            await is_set_within(stop, REST_S)

    async def _tell_each(self, voucher_ids: Sequence[str], conn: asyncpg.Connection, at_us: int) -> None:
        """Together; one by one if that fails, and those that fail are passed over until the next look."""
        try:
            await tell_ends(conn, self._programme, at_us, voucher_ids)
        except Exception as error:
            if is_transient(error):
                raise
            if len(voucher_ids) == 1:
                log.exception("voucher_end_not_told", voucher_id=voucher_ids[0])
                return
            for voucher_id in voucher_ids:
                await self._tell_each([voucher_id], conn, at_us)

    async def _tell_points(self, conn: asyncpg.Connection, at_us: int, stop: asyncio.Event) -> None:
        if self._done_day == civil_day(at_us):
            return
        while self._after_no is not None and not stop.is_set():
            self._after_no = await tell_expiring_points(conn, self._programme, at_us, self._after_no)
            await is_set_within(stop, REST_S)
        if self._after_no is None:
            self._done_day, self._after_no = civil_day(at_us), 0
