"""The HTTP process, put together. Nothing connects before it is served."""

from asyncpg.pool import Pool
from eventing.database import open_pool
from eventing.failures import WorkerStopped
from eventing.schema_version import behind
from fastapi import FastAPI
from programme.terms import Programme
from webapi.app import build_app
from webapi.database import Connection, prepared
from webapi.probes import unless

from customer_status import migrate
from customer_status.consents import api as consents_api
from customer_status.contacts import api as contacts_api
from customer_status.export import api as export_api
from customer_status.key_accounts import api as key_accounts_api
from customer_status.lists import api as lists_api
from customer_status.offers import api as offers_api
from customer_status.segments import api as segments_api
from customer_status.settings import ApiSettings
from customer_status.status import api as status_api
from customer_status.surveys import api as surveys_api
from customer_status.terms import service as terms

VERSION = "1"
DESCRIPTION = """\
The level of every member: since when, until when, and how far it is to the next; segments, lists, offers.
Instants are RFC 3339.
How a checkout uses it: docs/api.md."""
CONNECTIONS = 10


def build(settings: ApiSettings, programme: Programme) -> FastAPI:
    """The application over the database that `settings` name."""

    async def prepare(conn: Connection) -> None:
        await terms.adopt(conn, programme)

    async def pool() -> Pool:
        opened = await open_pool(
            settings.database_url, application_name="customer-status-api", min_size=1, max_size=CONNECTIONS
        )
        return await prepared(opened, prepare, hopeless=WorkerStopped)

    app = build_app(
        title="Kunden-Club customer-status",
        version=VERSION,
        description=DESCRIPTION,
        routers=[
            status_api.router,
            segments_api.router,
            lists_api.router,
            key_accounts_api.router,
            offers_api.router,
            consents_api.router,
            contacts_api.router,
            surveys_api.router,
            export_api.router,
        ],
        open_pool=pool,
        development=settings.development,
        readiness={"schema": unless(behind(migrate.SCRIPTS))},
        safety=settings.safety(),
    )
    app.state.programme = programme
    return app
