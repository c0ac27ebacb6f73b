"""Requests that wait are carried out together: one transaction for as many as have come meanwhile.

A request that finds nothing under way goes at once and alone, so this costs nobody time. Under load it saves most of
what a request costs: its own way to the database and back for each statement, and its own commit.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Generic, NamedTuple, TypeVar

import asyncpg
import structlog

from webapi.database import ACQUIRE_TIMEOUT_SECONDS, Connection, Database
from webapi.problems import Problem, Unavailable

log = structlog.get_logger(__name__)

LANES = 2
MOST_TOGETHER = 128
WAIT_SECONDS = ACQUIRE_TIMEOUT_SECONDS
# What makes the database unavailable to one of many: a row that somebody else holds.
SOMEBODYS = (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError, asyncpg.QueryCanceledError)

Job = TypeVar("Job")
Result = TypeVar("Result")


class _Waiting(NamedTuple, Generic[Job, Result]):
    job: Job
    owner: Hashable
    answered: "asyncio.Future[Result]"
    patience: asyncio.TimerHandle


class Together(Generic[Job, Result]):
    """Carries out jobs in transactions on at most `LANES` connections, in the order they came.

    `carry_out` gives a result, or the problem it ends in, for each of the jobs it is given; all that it wrote commits
    before any of them is answered. Jobs of the same owner never run at the same time.
    """

    def __init__(
        self,
        database: Database,
        carry_out: Callable[[Connection, Sequence[Job]], Awaitable[Sequence[Result | Problem]]],
        whose: Callable[[Job], Hashable],
    ) -> None:
        """`whose` tells a job's owner, such as the member whose row it locks."""
        self._database = database
        self._carry_out = carry_out
        self._whose = whose
        self._waiting: list[_Waiting[Job, Result]] = []
        self._busy: set[Hashable] = set()
        self._lanes: set[asyncio.Task[None] | None] = set()

    async def result_of(self, job: Job) -> Result:
        """Wait until it is carried out. Raises the problem that it ends in, and Unavailable if its turn does not come
        within `WAIT_SECONDS` or there is no database.
        """
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[Result] = loop.create_future()
        patience = loop.call_later(WAIT_SECONDS, _end, answered, Unavailable("too much else had to be done before"))
        self._waiting.append(_Waiting(job, self._whose(job), answered, patience))
        self._go_on()
        return await answered

    def _go_on(self) -> None:
        if len(self._lanes) < LANES and (chosen := self._choose()):
            self._lanes.add(asyncio.create_task(self._run(chosen)))

    def _choose(self) -> list[_Waiting[Job, Result]]:
        """The next ones, no two of one owner, and none of whom something is under way."""
        chosen: list[_Waiting[Job, Result]] = []
        left: list[_Waiting[Job, Result]] = []
        for each in self._waiting:
            if each.answered.done():  # it lost patience, or who asked has gone away
                each.patience.cancel()
            elif len(chosen) < MOST_TOGETHER and each.owner not in self._busy:
                self._busy.add(each.owner)
                each.patience.cancel()
                chosen.append(each)
            else:
                left.append(each)
        self._waiting = left
        return chosen

    async def _run(self, chosen: list[_Waiting[Job, Result]]) -> None:
        try:
            while chosen:
                await self._settle(chosen)
                self._busy.difference_update(each.owner for each in chosen)
                chosen = self._choose()
                self._go_on()
        finally:  # in the step that found nothing left: who asks next must find this lane free
            self._lanes.discard(asyncio.current_task())

    async def _settle(self, chosen: Sequence[_Waiting[Job, Result]]) -> None:
        try:
            async with self._database.transaction() as connection:
                results = await self._carry_out(connection, [each.job for each in chosen])
        except Exception as error:
            if isinstance(error, Unavailable) and not isinstance(error.__cause__, SOMEBODYS):
                for each in chosen:
                    _end(each.answered, Unavailable(error.detail))
            elif len(chosen) == 1:
                _end(chosen[0].answered, error)
            else:
                cause = type(error.__cause__ or error).__name__
                log.warning("carrying out one by one what failed together", requests=len(chosen), cause=cause)
                for each in chosen:  # nobody fails for what another one asked
                    await self._settle([each])
        else:
            for each, result in zip(chosen, results, strict=True):
                _end(each.answered, result)


def _end(answered: "asyncio.Future[Result]", result: Result | Exception) -> None:
    if answered.done():  # who asked has gone away
        return
    if isinstance(result, Exception):
        answered.set_exception(result)
    else:
        answered.set_result(result)
