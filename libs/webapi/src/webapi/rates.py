"""How often one client may call one process."""

import math
import time
from collections.abc import Callable
from typing import NamedTuple

from webapi.problems import TooManyRequests

KEPT_CLIENTS = 10_000


class Rate(NamedTuple):
    """So many requests a second on average, and `burst` of them at once."""

    per_second: float
    burst: int


class RateLimiter:
    """A token bucket a client, as the one instant at which it will be full again (GCRA)."""

    def __init__(self, rate: Rate | None, clock: Callable[[], float] = time.monotonic) -> None:
        """Without a rate nothing is limited."""
        self._rate = rate
        self._clock = clock
        self._full_at: dict[str, float] = {}

    def take(self, client: str) -> None:
        """Count a request of `client`. Raises TooManyRequests with the time after which the next one is taken."""
        if self._rate is None:
            return
        per_second, burst = self._rate
        now = self._clock()
        full_at = max(self._full_at.get(client, now), now)
        wait_seconds = full_at - now - (burst - 1) / per_second
        if wait_seconds > 0:
            raise TooManyRequests(
                f"at most {per_second:g} requests a second, {burst} at once",
                retry_after_seconds=max(1, math.ceil(wait_seconds)),
            )
        if client not in self._full_at and len(self._full_at) >= KEPT_CLIENTS:
            self._forget(now)
        self._full_at[client] = full_at + 1 / per_second

    def _forget(self, now: float) -> None:
        """Those with a full bucket are like strangers; if nobody has one, all begin anew."""
        self._full_at = {client: full_at for client, full_at in self._full_at.items() if full_at > now}
        if len(self._full_at) >= KEPT_CLIENTS:
            self._full_at.clear()
