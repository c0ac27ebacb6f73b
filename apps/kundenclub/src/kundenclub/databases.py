"""Connections to both services' databases: what `verify` and the demo look into."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import asyncpg
from eventing.database import connect

from kundenclub.errors import Explained

APPLICATION_NAME = "kundenclub"


class Databases(NamedTuple):
    """One connection to each service's database."""

    loyalty: asyncpg.Connection
    customer_status: asyncpg.Connection

    def named(self) -> list[tuple[str, asyncpg.Connection]]:
        """The connections with their services' names."""
        return [("loyalty", self.loyalty), ("customer-status", self.customer_status)]


class DatabaseAway(Explained):
    """A database cannot be reached or refuses us; the text says which one and why."""


@asynccontextmanager
async def open_databases(loyalty_url: str, customer_status_url: str) -> AsyncIterator[Databases]:
    """Both connections, with the limits every session has. Raises DatabaseAway."""
    loyalty = await _connect("loyalty", loyalty_url)
    try:
        customer_status = await _connect("customer-status", customer_status_url)
        try:
            yield Databases(loyalty, customer_status)
        finally:
            await customer_status.close()
    finally:
        await loyalty.close()


async def _connect(service: str, url: str) -> asyncpg.Connection:
    try:
        return await connect(url, application_name=APPLICATION_NAME)
    except (OSError, TimeoutError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise DatabaseAway(f"{service}'s database: {error or type(error).__name__}") from None
