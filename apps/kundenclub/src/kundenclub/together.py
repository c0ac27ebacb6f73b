"""Steps that run at the same time and end together."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, Final, TypeVar

R = TypeVar("R")

_AT_ONCE: Final = 8


async def all_done(steps: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run all. When one fails, or this is cancelled, the others are cancelled and waited for; the first failure is
    raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            for step in steps:
                group.create_task(step)
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None


async def some_at_once(steps: Iterable[Coroutine[Any, Any, R]]) -> list[R]:
    """The results of all, in their order, a few of them at a time; failures as with `all_done`."""
    turn, found = asyncio.Semaphore(_AT_ONCE), dict[int, R]()

    async def one(number: int, step: Coroutine[Any, Any, R]) -> None:
        async with turn:
            found[number] = await step

    await all_done(one(number, step) for number, step in enumerate(steps))
    return [found[number] for number in sorted(found)]
