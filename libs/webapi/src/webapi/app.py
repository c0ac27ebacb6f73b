"""The parts of an HTTP process put together."""

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from fastapi import APIRouter, FastAPI
from starlette.middleware import Middleware

from webapi import openapi, probes, problems
from webapi.access import AccessMiddleware
from webapi.auth import Authenticator, refuse_open_routes
from webapi.database import Database, PoolFactory
from webapi.idempotency import refuse_forgetful_routes
from webapi.keys import ApiKeys
from webapi.limits import LimitMiddleware
from webapi.probes import ReadinessCheck

DOCS_PATH = "/docs"
OPENAPI_PATH = "/openapi.json"

ANY_ROUTE_MAY = (
    problems.Unauthorized,
    problems.Forbidden,
    problems.TooLarge,
    problems.UnsupportedMediaType,
    problems.Malformed,
    problems.Internal,
    problems.Unavailable,
)


def build_app(
    *,
    title: str,
    version: str,
    description: str = "",
    routers: Sequence[APIRouter],
    open_pool: PoolFactory,
    development: bool,
    readiness: Mapping[str, ReadinessCheck] | None = None,
    authenticator: Callable[[Database], Authenticator] = ApiKeys,
) -> FastAPI:
    """The application of `routers`; nothing connects before it starts. Docs only in `development`.

    Raises OpenRoute for a route without `require(...)`, ForgetfulRoute for an `idempotent(...)` one that would not
    remember its answers.
    """
    public = [*probes.PATHS]
    docs = [DOCS_PATH, DOCS_PATH + "/oauth2-redirect"] if development else []
    if development:
        public += [OPENAPI_PATH, *docs]
    database = Database(open_pool)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        refuse_open_routes(app, public)  # again: routers may have grown since
        async with database.opened():
            yield

    app = FastAPI(
        title=title,
        version=version,
        description=description,
        responses=problems.responses(*ANY_ROUTE_MAY),
        generate_unique_id_function=openapi.operation_id,
        docs_url=DOCS_PATH if development else None,
        redoc_url=None,
        openapi_url=OPENAPI_PATH if development else None,
        redirect_slashes=False,
        lifespan=lifespan,
        middleware=[
            Middleware(AccessMiddleware, quiet=frozenset(probes.PATHS), without_policy=frozenset(docs)),
            Middleware(LimitMiddleware),
        ],
    )
    app.state.database = database
    app.state.authenticator = authenticator(database)
    problems.install(app)
    for router in (probes.probes(readiness or {}), *routers):
        app.include_router(router)
    refuse_open_routes(app, public)
    refuse_forgetful_routes(app)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]  # FastAPI's documented way to extend it
    return app


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        app.openapi_schema = openapi.document(app, ANY_ROUTE_MAY)
    return app.openapi_schema
