"""For tests of services: an application running in the test's own process, and a client that talks to it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
from fastapi import FastAPI

from webapi.database import Connection
from webapi.keys import create, new_key

READY_SECONDS = 20.0
POLL_SECONDS = 0.02


@contextlib.asynccontextmanager
async def started(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """`app` from its start to its orderly end, ready or not."""
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://service.test") as client,
    ):
        yield client


@contextlib.asynccontextmanager
async def running(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """`app` once it is ready. Raises TimeoutError if it never is."""
    async with started(app) as client:

        async def ready() -> bool:
            return (await client.get("/readyz")).status_code == 200

        await wait_for(ready)
        yield client


async def wait_for(condition: Callable[[], Awaitable[bool]], timeout: float = READY_SECONDS) -> None:
    """Return when `condition` holds. Raises TimeoutError after `timeout` seconds."""
    async with asyncio.timeout(timeout):
        while not await condition():  # what is waited for cannot notify us
            await asyncio.sleep(POLL_SECONDS)


class Gate:
    """Lets a test hold a request in the middle."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()

    async def pass_through(self) -> None:
        self.reached.set()
        await self.opened.wait()


async def credential(connection: Connection, *scopes: str, client: str = "test") -> dict[str, str]:
    """The request headers of a new API key with `scopes`."""
    key = new_key()
    await create(connection, key, client, frozenset(scopes))
    return {"Authorization": f"Bearer {key}"}
