"""What is carried out in one transaction is answered as if each request had one of its own."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import asyncpg
import pytest
from fastapi import FastAPI
from webapi import testing
from webapi.database import Connection
from webapi.problems import Problem, Unavailable
from webapi.together import LANES, MOST_TOGETHER, Together

Build = Callable[..., FastAPI]


class Full(Problem):
    status = 409
    code = "full"
    title = "There is no room"


class Job(NamedTuple):
    owner: str
    size: int = 1


class Stage:
    """Inserts things; each transaction waits for the gate, and is noted with its jobs."""

    def __init__(self) -> None:
        self.gate = testing.Gate()
        self.carried_out: list[list[Job]] = []
        self.under_way = self.most_under_way = 0

    async def carry_out(self, conn: Connection, jobs: Sequence[Job]) -> list[str | Problem]:
        self.carried_out.append(list(jobs))
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await self.gate.pass_through()
            fitting = [job for job in jobs if job.size <= 100]
            await conn.executemany("INSERT INTO thing VALUES ($1, $2)", fitting)
        finally:
            self.under_way -= 1
        return [job.owner if job.size <= 100 else Full(f"{job.owner} is too big") for job in jobs]

    async def is_busy(self) -> bool:
        return self.under_way == LANES

    def let_through(self) -> None:
        """Those that are held, and hold the next ones."""
        self.gate.opened.set()
        self.gate = testing.Gate()

    async def is_at_the_next(self) -> bool:
        return self.gate.reached.is_set()


@pytest.fixture
def stage() -> Stage:
    return Stage()


async def together(build: Build, stage: Stage, jobs: Sequence[Job]) -> list[str | BaseException]:
    """What became of jobs that came while two of other owners were under way."""
    app = build()
    async with testing.running(app):
        desk = Together[Job, str](app.state.database, stage.carry_out, whose=lambda job: job.owner)
        first = [asyncio.create_task(desk.result_of(Job(f"first-{n}"))) for n in range(LANES)]
        await testing.wait_for(stage.is_busy)
        waiting = [asyncio.create_task(desk.result_of(job)) for job in jobs]
        await asyncio.sleep(0)
        stage.gate.opened.set()
        assert await asyncio.gather(*first) == [f"first-{n}" for n in range(LANES)]
        return await asyncio.gather(*waiting, return_exceptions=True)


async def stored(connection: asyncpg.Connection) -> set[str]:
    return {row["thing_id"] for row in await connection.fetch("SELECT thing_id FROM thing WHERE thing_id !~ 'first'")}


async def test_what_waits_goes_together(build: Build, connection: asyncpg.Connection, stage: Stage) -> None:
    jobs = [Job(f"j{n}") for n in range(MOST_TOGETHER + 10)]
    assert await together(build, stage, jobs) == [job.owner for job in jobs]
    assert await stored(connection) == {job.owner for job in jobs}
    assert [len(each) for each in stage.carried_out] == [1, 1, MOST_TOGETHER, 10]
    assert stage.most_under_way == LANES


async def test_of_one_owner_one_after_the_other(build: Build, stage: Stage) -> None:
    """The second insert of the same thing fails, and nobody else does."""
    found = await together(build, stage, [Job("a"), Job("a"), Job("b"), Job("a")])
    assert [found[0], found[2]] == ["a", "b"]
    assert all(isinstance(found[n], asyncpg.UniqueViolationError) for n in (1, 3))
    assert [job.owner for job in stage.carried_out[2]] == ["a", "b"]
    assert all(len({job.owner for job in jobs}) == len(jobs) for jobs in stage.carried_out)


async def test_a_refusal_is_of_its_own_job_only(build: Build, connection: asyncpg.Connection, stage: Stage) -> None:
    found = await together(build, stage, [Job("a"), Job("b", 101), Job("c")])
    assert (found[0], found[2]) == ("a", "c")
    assert isinstance(found[1], Full)
    assert found[1].detail == "b is too big"
    assert await stored(connection) == {"a", "c"}


async def test_nobody_fails_for_what_another_asked(build: Build, connection: asyncpg.Connection, stage: Stage) -> None:
    """13 is refused when it is committed."""
    found = await together(build, stage, [Job("a"), Job("b", 13), Job("c")])
    assert (found[0], found[2]) == ("a", "c")
    assert isinstance(found[1], asyncpg.RaiseError)
    assert await stored(connection) == {"a", "c"}


async def test_what_may_work_when_sent_again_is_told_to_all(
    build: Build, connection: asyncpg.Connection, stage: Stage
) -> None:
    """14 is a serialization failure of the commit: it is not known whose."""
    found = await together(build, stage, [Job("a"), Job("b", 14)])
    assert [type(each) for each in found] == [Unavailable, Unavailable]
    assert found[0] is not found[1]
    assert await stored(connection) == set()


async def test_a_lock_of_somebody_else_is_waited_for_by_its_own_job(
    build: Build, connection: asyncpg.Connection, stage: Stage
) -> None:
    found = await together(build, stage, [Job("a"), Job("b", 15), Job("c")])
    assert (found[0], found[2]) == ("a", "c")
    assert isinstance(found[1], Unavailable)
    assert await stored(connection) == {"a", "c"}


async def test_who_has_gone_away_is_left_out(build: Build, connection: asyncpg.Connection, stage: Stage) -> None:
    """Whoever was not begun with is not carried out; whoever was leaves the others their answers."""
    app = build()
    async with testing.running(app):
        desk = Together[Job, str](app.state.database, stage.carry_out, whose=lambda job: job.owner)
        first = [asyncio.create_task(desk.result_of(Job(f"first-{n}"))) for n in range(LANES)]
        await testing.wait_for(stage.is_busy)
        gone, stays, leaves = (asyncio.create_task(desk.result_of(Job(each))) for each in ("gone", "stays", "leaves"))
        await asyncio.sleep(0)
        gone.cancel()
        stage.let_through()
        assert await first[0] == "first-0"
        await testing.wait_for(stage.is_at_the_next)
        leaves.cancel()
        stage.gate.opened.set()
        async with asyncio.timeout(testing.READY_SECONDS):
            assert await stays == "stays"
            assert await desk.result_of(Job("later")) == "later"
            await asyncio.gather(*first)
    assert await stored(connection) == {"stays", "leaves", "later"}


async def test_whose_turn_does_not_come_is_told_and_not_carried_out(
    build: Build, connection: asyncpg.Connection, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webapi.together.WAIT_SECONDS", 0.05)
    app = build()
    async with testing.running(app):
        desk = Together[Job, str](app.state.database, stage.carry_out, whose=lambda job: job.owner)
        first = asyncio.create_task(desk.result_of(Job("a")))
        await stage.gate.reached.wait()
        with pytest.raises(Unavailable):
            await desk.result_of(Job("a"))
        stage.gate.opened.set()
        assert await first == "a"
        assert await desk.result_of(Job("b")) == "b"
    assert [len(jobs) for jobs in stage.carried_out] == [1, 1]


class Instant:
    """A database whose transactions take no time, so that all lanes end in the same step."""

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        yield


async def test_who_asks_in_the_step_in_which_the_lanes_end_is_heard() -> None:
    async def carry_out(conn: Connection, jobs: Sequence[str]) -> Sequence[str]:
        return jobs

    database: Any = Instant()
    desk = Together[str, str](database, carry_out, whose=str)

    async def ask(owner: str, times: int) -> None:
        for _ in range(times):
            assert await desk.result_of(owner) == owner

    async with asyncio.timeout(testing.READY_SECONDS):  # the first asks again, and nobody after it
        await asyncio.gather(ask("first", 2), *(ask(f"j{n}", 1) for n in range(1, LANES)))
