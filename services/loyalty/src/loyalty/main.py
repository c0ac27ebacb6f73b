"""The HTTP process, put together. Nothing connects before it is served."""

from asyncpg.pool import Pool
from eventing.database import open_pool
from fastapi import FastAPI
from programme.terms import Programme
from webapi.app import build_app

from loyalty.members import api as members_api
from loyalty.settings import ApiSettings
from loyalty.vouchers import api as vouchers_api
from loyalty.vouchers.service import Vouchers

VERSION = "1"
CONNECTIONS = 10


def build(settings: ApiSettings, programme: Programme) -> FastAPI:
    """The application over the database that `settings` name."""

    async def pool() -> Pool:
        return await open_pool(settings.database_url, application_name="loyalty-api", min_size=1, max_size=CONNECTIONS)

    app = build_app(
        title="Kunden-Club loyalty",
        version=VERSION,
        routers=[members_api.router, vouchers_api.router],
        open_pool=pool,
        development=settings.development,
    )
    app.state.programme = programme
    app.state.vouchers = Vouchers(programme, settings.keys())
    return app
