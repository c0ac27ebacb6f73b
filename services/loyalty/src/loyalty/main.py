"""The HTTP process, put together. Nothing connects before it is served."""

from asyncpg.pool import Pool
from eventing import forgotten
from eventing.database import open_pool
from eventing.failures import WorkerStopped
from eventing.schema_version import behind
from fastapi import FastAPI
from programme.terms import Programme
from webapi.app import build_app
from webapi.database import Connection, prepared
from webapi.probes import unless

from loyalty import migrate
from loyalty.adjustments import api as adjustments_api
from loyalty.erasure import api as erasure_api
from loyalty.export import api as export_api
from loyalty.members import api as members_api
from loyalty.quotes import api as quotes_api
from loyalty.reports import api as reports_api
from loyalty.rewards import api as rewards_api
from loyalty.settings import ApiSettings
from loyalty.terms import service as terms
from loyalty.vouchers import api as vouchers_api
from loyalty.vouchers.keyring import refuse_wrong_keys
from loyalty.vouchers.service import Vouchers

VERSION = "1"
DESCRIPTION = """\
Points, the ledger that explains each of them, rewards and vouchers.
Money is integer euro cents, instants are RFC 3339.
How a checkout uses it: docs/api.md."""
CONNECTIONS = 10


def build(settings: ApiSettings, programme: Programme) -> FastAPI:
    """The application over the database that `settings` name."""

    secret = settings.secret()

    async def prepare(conn: Connection) -> None:
        await terms.adopt(conn, programme)
        await forgotten.adopt(conn, secret)
        await refuse_wrong_keys(conn, settings.keys())

    async def pool() -> Pool:
        opened = await open_pool(
            settings.database_url, application_name="loyalty-api", min_size=1, max_size=CONNECTIONS
        )
        return await prepared(opened, prepare, hopeless=WorkerStopped)

    app = build_app(
        title="Kunden-Club loyalty",
        version=VERSION,
        description=DESCRIPTION,
        routers=[  # tried in this order for each request: what a checkout waits for comes first
            rewards_api.router,
            vouchers_api.router,
            quotes_api.router,
            members_api.router,
            adjustments_api.router,
            export_api.router,
            erasure_api.router,
            reports_api.router,
        ],
        open_pool=pool,
        development=settings.development,
        readiness={"schema": unless(behind(migrate.SCRIPTS))},
        safety=settings.safety(),
    )
    app.state.programme = programme
    app.state.secret = secret
    app.state.vouchers = Vouchers(programme, settings.keys())
    app.state.rewards = rewards_api.RewardDesk(app.state.database, programme, app.state.vouchers)
    return app
