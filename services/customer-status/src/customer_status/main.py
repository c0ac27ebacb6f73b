"""The HTTP process, put together. Nothing connects before it is served."""

from asyncpg.pool import Pool
from eventing.database import open_pool
from fastapi import FastAPI
from programme.terms import Programme
from webapi.app import build_app

from customer_status.settings import ApiSettings
from customer_status.tiers import api as tiers_api

VERSION = "1"
CONNECTIONS = 10


def build(settings: ApiSettings, programme: Programme) -> FastAPI:
    """The application over the database that `settings` name."""

    async def pool() -> Pool:
        return await open_pool(
            settings.database_url, application_name="customer-status-api", min_size=1, max_size=CONNECTIONS
        )

    app = build_app(
        title="Kunden-Club customer-status",
        version=VERSION,
        routers=[tiers_api.router],
        open_pool=pool,
        development=settings.development,
    )
    app.state.programme = programme
    return app
