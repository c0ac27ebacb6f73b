"""/livez: the process runs. /readyz: it can do its work now."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from fastapi import APIRouter, Request

from webapi.database import Connection, database_of
from webapi.problems import Unavailable

READINESS_TIMEOUT_SECONDS = 3.0
PATHS = ("/livez", "/readyz")

ReadinessCheck = Callable[[Connection], Awaitable[None]]
"""Returns when the process is ready in this respect; raises NotReady otherwise."""


class NotReady(Exception):
    """The message says what is missing; it is shown to whoever can reach the probe."""


def unless(why_not: Callable[[Connection], Awaitable[str | None]]) -> ReadinessCheck:
    """The check that `why_not` finds nothing to say."""

    async def check(connection: Connection) -> None:
        reason = await why_not(connection)
        if reason is not None:
            raise NotReady(reason)

    return check


def probes(checks: Mapping[str, ReadinessCheck]) -> APIRouter:
    """The two probes; ready means that the database answers and all `checks` pass."""
    router = APIRouter(include_in_schema=False)

    @router.api_route("/livez", methods=["GET", "HEAD"])
    async def livez() -> dict[str, str]:
        return {"status": "alive"}

    @router.api_route("/readyz", methods=["GET", "HEAD"])
    async def readyz(request: Request) -> dict[str, str]:
        try:
            async with asyncio.timeout(READINESS_TIMEOUT_SECONDS):
                await _check(request, checks)
        except TimeoutError as error:
            raise Unavailable("not ready: no answer in time") from error
        return {"status": "ready"}

    return router


async def _check(request: Request, checks: Mapping[str, ReadinessCheck]) -> None:
    async with database_of(request).connection() as connection:
        await connection.execute("SELECT 1")
        for name, check in checks.items():
            try:
                await check(connection)
            except NotReady as error:
                raise Unavailable(f"not ready: {name}: {error}") from error
