"""The parts of an HTTP process put together."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.middleware import Middleware
from starlette.routing import BaseRoute

from webapi import openapi, probes, problems
from webapi.access import AccessMiddleware
from webapi.attempts import AttemptLimit, Attempts
from webapi.auth import Authenticator, Caller, check_scopes, refuse_blocking, refuse_open_routes
from webapi.database import Database, PoolFactory
from webapi.housekeeping import keep_house
from webapi.idempotency import refuse_forgetful_routes
from webapi.jwks import IssuerKeys
from webapi.keys import KEY_PREFIX, ApiKeys
from webapi.limits import LimitMiddleware
from webapi.probes import ReadinessCheck
from webapi.rates import Rate, RateLimiter
from webapi.routes import declare
from webapi.tokens import TokenIssuer, Tokens

DOCS_PATH = "/docs"
OPENAPI_PATH = "/openapi.json"

ANY_ROUTE_MAY = (
    problems.Unauthorized,
    problems.Forbidden,
    problems.TooLarge,
    problems.UnsupportedMediaType,
    problems.Malformed,
    problems.TooManyRequests,
    problems.Internal,
    problems.Unavailable,
)


Part = Callable[[], Coroutine[Any, Any, None]]


class Safety(NamedTuple):
    """Whose tokens count beside API keys, and how often a client may call and fail."""

    issuer: TokenIssuer | None = None
    rate: Rate | None = None
    attempts: AttemptLimit = AttemptLimit(failures=100, window_seconds=600)


class Credentials:
    """API keys, and tokens where there is an issuer; which of them it is shows in how it begins."""

    def __init__(self, keys: ApiKeys, tokens: Tokens | None) -> None:
        self._keys = keys
        self._tokens = tokens

    async def authenticate(self, credential: str) -> Caller | None:
        if credential.startswith(KEY_PREFIX) or self._tokens is None:
            return await self._keys.authenticate(credential)
        return await self._tokens.authenticate(credential)


def build_app(
    *,
    title: str,
    version: str,
    description: str = "",
    routers: Sequence[APIRouter],
    open_pool: PoolFactory,
    development: bool,
    readiness: Mapping[str, ReadinessCheck] | None = None,
    safety: Safety = Safety(),  # noqa: B008  # a constant
    authenticator: Callable[[Database], Authenticator] | None = None,
) -> FastAPI:
    """The application of `routers`; nothing connects before it starts. Docs only in `development`.

    `authenticator` takes the place of API keys and tokens.
    Raises OpenRoute for a route without `require(...)`, ForgetfulRoute for an `idempotent(...)` one that would not
    remember its answers, BlockingDependency for one that would occupy a thread.
    """
    public = [*probes.PATHS]
    docs = [DOCS_PATH, DOCS_PATH + "/oauth2-redirect"] if development else []
    if development:
        public += [OPENAPI_PATH, *docs]
    database = Database(open_pool)
    beside: list[Part] = [partial(keep_house, database)]
    tokens = None
    if safety.issuer is not None:
        issuer_keys = IssuerKeys(safety.issuer.jwks_url)
        tokens = Tokens(safety.issuer, issuer_keys)
        beside.append(issuer_keys.keep_fresh)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        refuse_open_routes([*app.routes, *_routes_of(routers)], public)  # again: all may have grown since
        async with database.opened(), _running(beside):
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
        telemetry={"tracing": False, "metrics": False, "logs": False},  # else each request looks whether there is any
        middleware=[
            Middleware(AccessMiddleware, quiet=frozenset(probes.PATHS), without_policy=frozenset(docs)),
            Middleware(LimitMiddleware),
        ],
    )
    app.state.database = database
    app.state.authenticator = authenticator(database) if authenticator else Credentials(ApiKeys(database), tokens)
    app.state.rates = RateLimiter(safety.rate)
    app.state.attempts = Attempts(database, safety.attempts)
    problems.install(app)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    refuse_open_routes(_routes_of(routers), ())
    declare(app, routers)
    app.include_router(probes.probes(readiness or {}))  # last: it is looked into for whatever comes after it
    refuse_open_routes(app.routes, public)
    refuse_forgetful_routes(app)
    refuse_blocking(app)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]  # FastAPI's documented way to extend it
    return app


def _routes_of(routers: Sequence[APIRouter]) -> list[BaseRoute]:
    return [route for router in routers for route in router.routes]


@contextlib.asynccontextmanager
async def _running(parts: Sequence[Part]) -> AsyncIterator[None]:
    """What runs beside the requests, until the end. The parts take care of their failures themselves."""
    tasks = [asyncio.create_task(part()) for part in parts]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def _on_validation_error(request: Request, error: Exception) -> Response:
    """The framework looks at a request before it asks who may send it: who may not is told that, and nothing else."""
    try:
        check_scopes(request)
    except problems.Forbidden as forbidden:
        return problems.render(request, forbidden)
    return await problems.on_validation_error(request, error)


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        app.openapi_schema = openapi.document(app, ANY_ROUTE_MAY)
    return app.openapi_schema
