"""Who calls, and what they may do.

Every route says what it needs with `require(...)`; an application with one that does not cannot be built.
"""

import inspect
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from fastapi import FastAPI, Request, Security
from fastapi.dependencies.models import Dependant
from fastapi.openapi.models import HTTPBearer
from fastapi.routing import iter_route_contexts
from fastapi.security.base import SecurityBase
from prometheus_client import Counter
from starlette.routing import BaseRoute

from webapi.problems import Forbidden, Problem, Unauthorized
from webapi.rates import RateLimiter

FAILURES = Counter("http_authentication_failures_total", "Requests with a credential that was missing or not valid")


class Caller(NamedTuple):
    """`client` is the calling system, `subject` the person it acts for, if it names one.

    `source` tells apart who vouches for the name: nothing for API keys, "jwt" for tokens.
    """

    client: str
    subject: str | None
    scopes: frozenset[str]
    source: str = ""

    @property
    def system(self) -> str:
        """The client, unmistakably: names of API keys hold no colon."""
        return f"{self.source}:{self.client}" if self.source else self.client

    @property
    def identity(self) -> str:
        """The client and the person, unmistakably: names of clients hold no slash."""
        return self.system if self.subject is None else f"{self.system}/{self.subject}"


class Authenticator(Protocol):
    async def authenticate(self, credential: str) -> Caller | None:
        """Whose credential it is; None if it is unknown, wrong, revoked or expired."""


class AttemptsOf(Protocol):
    def refuse_blocked(self, client: str, kind: str) -> None:
        """Raises TooManyAttempts if the client has failed too often at this."""


class Require(SecurityBase):
    """The dependency behind `require`: a known caller that holds all `scopes`, and may still guess at `limits`."""

    def __init__(self, scopes: Iterable[str], limits: type[Problem] | None = None) -> None:
        self.scopes = frozenset(scopes)
        self.limits = limits
        self.scheme_name = "credential"
        self.model = HTTPBearer(description="`Authorization: Bearer <credential>`, or `X-API-Key: <API key>`")

    async def __call__(self, request: Request) -> Caller:
        caller = self.check(await authenticated(request))
        if self.limits is not None:
            attempts: AttemptsOf = request.app.state.attempts
            attempts.refuse_blocked(caller.system, self.limits.code)
        return caller

    def check(self, caller: Caller) -> Caller:
        missing = sorted(self.scopes - caller.scopes)
        if missing:
            raise Forbidden(f"missing scope: {' '.join(missing)}", missing_scopes=missing)
        return caller


def require(*scopes: str, limits: type[Problem] | None = None) -> Any:
    """Use as `caller: Annotated[Caller, require("things:read")]`; 401 for strangers, 403 if a scope is missing.

    `limits` is a problem with `limited = True` that the route can end in (see attempts).
    """
    return Security(Require(scopes, limits), scopes=list(scopes))


async def authenticated(request: Request) -> Caller:
    """The caller of `request`, found out and counted once a request. Raises Unauthorized, TooManyRequests."""
    state = request.scope["state"]
    known: Caller | None = state.get("caller")
    if known is not None:
        return known
    authenticator: Authenticator = request.app.state.authenticator
    rates: RateLimiter = request.app.state.rates
    try:
        caller = await authenticator.authenticate(_credential(request))
        if caller is None:
            raise Unauthorized("the credential is not valid")
    except Unauthorized:
        FAILURES.inc()
        raise
    state["client"] = caller.client  # for the log, also of what is refused next
    rates.take(caller.system)
    state["caller"] = caller
    return caller


def _credential(request: Request) -> str:
    """One of one kind: two would let a proxy in front and this process each look at another one."""
    headers: list[tuple[bytes, bytes]] = request.scope["headers"]
    authorization = [value.decode("latin-1") for name, value in headers if name == b"authorization"]
    api_keys = [value.decode("latin-1") for name, value in headers if name == b"x-api-key"]
    if len(authorization) + len(api_keys) > 1:
        raise Unauthorized("send one credential")
    if api_keys:
        return api_keys[0]
    scheme, _, credential = "".join(authorization).partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthorized("send `Authorization: Bearer <credential>` or `X-API-Key: <API key>`")
    return credential.strip()


def check_scopes(request: Request) -> None:
    """Raises Forbidden if its caller lacks a scope that its route requires."""
    caller: Caller | None = request.scope["state"].get("caller")
    dependant: Dependant | None = getattr(request.scope.get("route"), "dependant", None)
    if caller is None or dependant is None:
        return
    for each in dependencies_of(dependant):
        if isinstance(each.call, Require):
            each.call.check(caller)


class OpenRoute(Exception):
    """A route that would be served to strangers; a defect of the program, found before it serves anyone."""


def refuse_open_routes(routes: Sequence[BaseRoute], public: Sequence[str]) -> None:
    """Raises OpenRoute unless every route but those at the `public` paths says what it requires."""
    for context in iter_route_contexts(routes):
        dependant = getattr(context, "dependant", None)
        closed = dependant is not None and any(isinstance(each.call, Require) for each in dependencies_of(dependant))
        if not closed and context.path not in public:
            raise OpenRoute(f"{sorted(context.methods or ())} {context.path} has no require(...)")


class BlockingDependency(Exception):
    """A dependency or route that every request would hand to another thread; a defect of the program."""


def refuse_blocking(app: FastAPI) -> None:
    """Raises BlockingDependency for what is no coroutine: the way to a thread and back takes longer than what these
    do, and the threads' number would bound the requests at once.
    """
    for context in iter_route_contexts(app.routes):
        dependant = getattr(context, "dependant", None)
        for each in () if dependant is None else dependencies_of(dependant):
            if not _is_async(each.call):
                raise BlockingDependency(f"{context.path} needs `async def` for {each.call!r}")


def _is_async(call: object) -> bool:
    function = call if inspect.isroutine(call) else type(call).__call__
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def dependencies_of(dependant: Dependant) -> Iterator[Dependant]:
    """`dependant` and everything it depends on."""
    yield dependant
    for each in dependant.dependencies:
        yield from dependencies_of(each)
