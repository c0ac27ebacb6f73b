"""A part of a worker that verifies a few rows at a time for as long as it runs, so that a fault shows before it is
looked for.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

import asyncpg
import structlog

from eventing import metrics
from eventing.backoff import is_set_within
from eventing.database import close, connect
from eventing.report import Report

log = structlog.get_logger(__name__)

_MOST_OF_THE_TIME: Final = 0.01

Sample = Callable[[asyncpg.Connection, Report], Awaitable[int]]
"""Checks some rows chosen at random, in a snapshot that is open; returns how many it looked at."""


@dataclass(frozen=True)
class Sampler:
    """Takes a sample every `every_s` seconds, more seldom where that would take more than 1 % of the time.

    Faults are counted and logged. Nothing it meets ends or slows the worker: what fails is tried again later.
    """

    service: str
    database_url: str = field(repr=False)
    sample: Sample
    every_s: float
    retry_s: float = 10.0

    async def run(self, stop: asyncio.Event) -> None:
        """Runs until `stop` is set."""
        while not stop.is_set():
            try:
                await self._run_with_connection(stop)
            except Exception as error:
                log.info("not_verified", error=repr(error))
                await is_set_within(stop, self.retry_s)

    async def _run_with_connection(self, stop: asyncio.Event) -> None:
        conn = await connect(self.database_url, application_name=f"{self.service}-verify", posting=True)
        try:
            while not stop.is_set():
                started = time.perf_counter()
                await self._take(conn)
                took_s = time.perf_counter() - started
                await is_set_within(stop, max(self.every_s, took_s / _MOST_OF_THE_TIME))
        finally:
            await close(conn)

    async def _take(self, conn: asyncpg.Connection) -> None:
        report = Report(self.service)
        async with conn.transaction(isolation="repeatable_read", readonly=True):
            try:
                sampled = await self.sample(conn, report)
            except (ValueError, LookupError, TypeError) as error:  # what a row holds is not what it must
                sampled = 0
                report.check("rows that can be read").add(repr(error))
        metrics.VERIFY_SAMPLED.inc(sampled)
        metrics.VERIFY_LAST_RUN.set_to_current_time()
        for name, finding in report.differences.items():
            metrics.VERIFY_FAULTS.labels(name).inc(finding.count)
            for example in finding.examples:
                log.error("verify_found_a_fault", check=name, found=example)
