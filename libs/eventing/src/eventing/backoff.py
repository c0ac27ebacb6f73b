"""Waiting before doing something again, as a value."""

import asyncio
import contextlib
import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Backoff:
    """Doubles from `first_s` to at most `most_s` seconds, with up to a quarter of jitter taken off."""

    first_s: float = 0.1
    most_s: float = 10.0

    def delay_s(self, attempt: int) -> float:
        """Seconds to wait after the failure number `attempt`, counted from 0."""
        return min(self.most_s, self.first_s * 2.0 ** min(attempt, 30)) * random.uniform(0.75, 1.0)

    async def wait(self, attempt: int) -> None:
        """Waits that long."""
        await asyncio.sleep(self.delay_s(attempt))


async def is_set_within(event: asyncio.Event, timeout_s: float) -> bool:
    """Waits for `event`, but not longer than that; says whether it is set."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), timeout_s)
    return event.is_set()
