"""How often a client may call, and fail."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Annotated

import asyncpg
import httpx
import pytest
from fastapi import APIRouter, FastAPI
from webapi import testing
from webapi.app import Safety
from webapi.attempts import AttemptLimit
from webapi.auth import Caller, require
from webapi.database import RequestSnapshot, RequestTransaction
from webapi.models import Model
from webapi.problems import Problem, TooManyRequests
from webapi.rates import KEPT_CLIENTS, Rate, RateLimiter

Build = Callable[..., FastAPI]
LIMIT = 3


class WrongGuess(Problem):
    limited = True
    status = 404
    code = "wrong_guess"
    title = "Wrong"


class Guess(Model):
    word: str


router = APIRouter()


@router.post("/v1/guesses")
async def guess(
    body: Guess,
    transaction: RequestTransaction,
    caller: Annotated[Caller, require("things:write", limits=WrongGuess)],
) -> str:
    await transaction.execute("INSERT INTO thing VALUES ($1, 1)", body.word)
    if body.word != "right":
        raise WrongGuess("wrong")
    return "right"


@router.post("/v1/looks")
async def look(body: Guess, snapshot: RequestSnapshot, caller: Annotated[Caller, require("things:write")]) -> str:
    if body.word != "right":
        raise WrongGuess("wrong")
    return "right"


@pytest.fixture
async def processes(build: Build) -> AsyncIterator[list[httpx.AsyncClient]]:
    """Two over one database."""
    safety = Safety(attempts=AttemptLimit(LIMIT, window_seconds=60))
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(testing.running(build(router, safety=safety))) for _ in range(2)]


async def tried(client: httpx.AsyncClient, headers: dict[str, str], word: str, path: str = "/v1/guesses") -> int:
    return (await client.post(path, json={"word": word}, headers=headers)).status_code


async def test_failures_count_over_all_processes_although_they_are_rolled_back(
    processes: list[httpx.AsyncClient], connection: asyncpg.Connection, owner: asyncpg.Connection
) -> None:
    one, two = processes
    headers = await testing.credential(connection, "things:write", client="shop")
    others = await testing.credential(connection, "things:write", client="other")
    assert [await tried(each, headers, "a") for each in (one, two, one)] == [404] * LIMIT
    assert await connection.fetchval("SELECT count(*) FROM thing") == 0
    assert await tried(two, headers, "a") == 429
    blocked = await two.post("/v1/guesses", json={"word": "right"}, headers=headers)
    assert (blocked.status_code, blocked.json()["code"]) == (429, "too_many_attempts")
    assert 0 < int(blocked.headers["retry-after"]) <= 60
    # What the first process does not know yet, it learns from one failure; and reading is not limited by it.
    assert [await tried(one, headers, "a", "/v1/looks"), await tried(one, headers, "right")] == [429, 429]
    assert await tried(one, headers, "right", "/v1/looks") == 200
    assert await tried(two, others, "right") == 200
    assert await owner.fetchval("SELECT failures FROM failed_attempt WHERE client = 'shop'") == LIMIT + 2


async def test_the_window_ends(
    processes: list[httpx.AsyncClient], connection: asyncpg.Connection, owner: asyncpg.Connection
) -> None:
    headers = await testing.credential(connection, "things:write", client="shop")
    for _ in range(LIMIT):
        await tried(processes[0], headers, "a")
    await owner.execute("UPDATE failed_attempt SET began_at = began_at - interval '61 seconds'")
    assert [await tried(processes[0], headers, "a") for _ in range(LIMIT + 1)] == [404] * LIMIT + [429]


async def test_failures_at_the_same_time_are_all_counted(
    processes: list[httpx.AsyncClient], connection: asyncpg.Connection
) -> None:
    headers = await testing.credential(connection, "things:write", client="shop")
    statuses = await asyncio.gather(*[tried(processes[n % 2], headers, f"w{n}") for n in range(30)])
    assert sorted(statuses) == [404] * LIMIT + [429] * (30 - LIMIT)


async def test_a_success_costs_nothing(
    processes: list[httpx.AsyncClient], connection: asyncpg.Connection, owner: asyncpg.Connection
) -> None:
    """Not even a look at the table: it could be gone. What cannot be counted is no answer to a guess."""
    headers = await testing.credential(connection, "things:write", client="shop")
    await owner.execute("ALTER TABLE failed_attempt RENAME TO gone")
    assert await tried(processes[0], headers, "right", "/v1/looks") == 200
    assert await tried(processes[0], headers, "a", "/v1/looks") == 500


async def test_a_client_that_calls_too_often(build: Build, connection: asyncpg.Connection) -> None:
    async with testing.running(build(router, safety=Safety(rate=Rate(0.01, 5)))) as client:
        headers = await testing.credential(connection, "things:write", client="shop")
        same_client = await testing.credential(connection, "things:write", client="shop")
        other_client = await testing.credential(connection, "things:write", client="other")
        statuses = [await tried(client, headers, "right", "/v1/looks") for _ in range(5)]
        refused = await client.post("/v1/looks", json={"word": "right"}, headers=same_client)
        assert statuses == [200] * 5
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_requests")
        assert 0 < int(refused.headers["retry-after"]) <= 100
        assert refused.json()["retry_after_seconds"] == int(refused.headers["retry-after"])
        assert await tried(client, other_client, "right", "/v1/looks") == 200


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def taken(limiter: RateLimiter, client: str, times: int) -> int:
    """How many of so many requests are taken."""
    count = 0
    for _ in range(times):
        try:
            limiter.take(client)
        except TooManyRequests:
            continue
        count += 1
    return count


def test_a_bucket_fills_up_again() -> None:
    clock = Clock()
    limiter = RateLimiter(Rate(per_second=2, burst=4), clock)
    assert taken(limiter, "a", 10) == 4
    clock.now += 1
    assert taken(limiter, "a", 10) == 2
    with pytest.raises(TooManyRequests) as refused:
        limiter.take("a")
    clock.now += int(refused.value.headers["Retry-After"])
    assert taken(limiter, "a", 1) == 1
    clock.now += 3_600
    assert taken(limiter, "a", 10) == 4


def test_clients_beyond_number_take_no_memory_beyond_number() -> None:
    clock = Clock()
    limiter = RateLimiter(Rate(per_second=1, burst=1), clock)
    for number in range(3 * KEPT_CLIENTS):
        clock.now += 1e-5
        limiter.take(f"c{number}")
    assert len(limiter._full_at) <= KEPT_CLIENTS


def test_without_a_rate_nothing_is_limited() -> None:
    assert taken(RateLimiter(None), "a", 1_000) == 1_000
