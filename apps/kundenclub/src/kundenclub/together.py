"""Steps that run at the same time and end together."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any


async def all_done(steps: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run all. When one fails, or this is cancelled, the others are cancelled and waited for; the first failure is
    raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            for step in steps:
                group.create_task(step)
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
