"""The HTTP process, put together. Nothing connects before it is served."""

import os

import structlog
from asyncpg.pool import Pool
from eventing.database import open_pool
from eventing.failures import WorkerStopped
from fastapi import FastAPI
from programme.terms import Programme
from webapi.app import build_app

from loyalty.adjustments import api as adjustments_api
from loyalty.members import api as members_api
from loyalty.quotes import api as quotes_api
from loyalty.rewards import api as rewards_api
from loyalty.settings import ApiSettings
from loyalty.terms import service as terms
from loyalty.vouchers import api as vouchers_api
from loyalty.vouchers.service import Vouchers

log = structlog.get_logger(__name__)

VERSION = "1"
DESCRIPTION = """\
Points, the ledger that explains each of them, rewards and vouchers.
Money is integer euro cents, instants are RFC 3339.
How a checkout uses it: docs/api.md."""
CONNECTIONS = 10


def build(settings: ApiSettings, programme: Programme) -> FastAPI:
    """The application over the database that `settings` name."""

    async def pool() -> Pool:
        opened = await open_pool(
            settings.database_url, application_name="loyalty-api", min_size=1, max_size=CONNECTIONS
        )
        await _adopt_terms(opened, programme)
        return opened

    app = build_app(
        title="Kunden-Club loyalty",
        version=VERSION,
        description=DESCRIPTION,
        routers=[
            members_api.router,
            adjustments_api.router,
            rewards_api.router,
            vouchers_api.router,
            quotes_api.router,
        ],
        open_pool=pool,
        development=settings.development,
    )
    app.state.programme = programme
    app.state.vouchers = Vouchers(programme, settings.keys())
    return app


async def _adopt_terms(pool: Pool, programme: Programme) -> None:
    """Before any request: ends the process if terms that have begun were edited; a pool that fails here is closed."""
    try:
        async with pool.acquire() as conn:
            await terms.adopt(conn, programme)
    except WorkerStopped as stopped:
        log.critical("api_stopped", why=str(stopped))
        # No request was taken yet, and SystemExit out of a task of the server would be a page of stack traces.
        os._exit(1)
    except BaseException:
        pool.terminate()
        raise
