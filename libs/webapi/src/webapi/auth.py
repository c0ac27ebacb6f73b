"""Who calls, and what they may do.

Every route says what it needs with `require(...)`; an application with one that does not cannot be built.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from fastapi import FastAPI, Request, Security
from fastapi.dependencies.models import Dependant
from fastapi.openapi.models import HTTPBearer
from fastapi.routing import iter_route_contexts
from fastapi.security.base import SecurityBase

from webapi.problems import Forbidden, Unauthorized


class Caller(NamedTuple):
    """`client` is the calling system, `subject` the person it acts for, if it names one."""

    client: str
    subject: str | None
    scopes: frozenset[str]


class Authenticator(Protocol):
    async def authenticate(self, credential: str) -> Caller | None:
        """Whose credential it is; None if it is unknown, wrong, revoked or expired."""


class Require(SecurityBase):
    """The dependency behind `require`: a known caller that holds all `scopes`."""

    def __init__(self, scopes: Iterable[str]) -> None:
        self.scopes = frozenset(scopes)
        self.scheme_name = "credential"
        self.model = HTTPBearer(description="`Authorization: Bearer <credential>`, or `X-API-Key: <API key>`")

    async def __call__(self, request: Request) -> Caller:
        return self.check(await authenticated(request))

    def check(self, caller: Caller) -> Caller:
        missing = sorted(self.scopes - caller.scopes)
        if missing:
            raise Forbidden(f"missing scope: {' '.join(missing)}", missing_scopes=missing)
        return caller


def require(*scopes: str) -> Any:
    """Use as `caller: Annotated[Caller, require("things:read")]`; 401 for strangers, 403 if a scope is missing."""
    return Security(Require(scopes), scopes=list(scopes))


async def authenticated(request: Request) -> Caller:
    """The caller of `request`, found out once a request. Raises Unauthorized."""
    known: Caller | None = getattr(request.state, "caller", None)
    if known is not None:
        return known
    authenticator: Authenticator = request.app.state.authenticator
    caller = await authenticator.authenticate(_credential(request))
    if caller is None:
        raise Unauthorized("the credential is not valid")
    request.state.caller = caller
    return caller


def _credential(request: Request) -> str:
    scheme, _, credential = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return credential.strip()
    api_key = request.headers.get("x-api-key")
    if api_key is None:
        raise Unauthorized("send `Authorization: Bearer <credential>` or `X-API-Key: <API key>`")
    return api_key


class OpenRoute(Exception):
    """A route that would be served to strangers; a defect of the program, found before it serves anyone."""


def refuse_open_routes(app: FastAPI, public: Sequence[str]) -> None:
    """Raises OpenRoute unless every route but those at the `public` paths says what it requires."""
    for context in iter_route_contexts(app.routes):
        dependant = getattr(context, "dependant", None)
        closed = dependant is not None and any(isinstance(each.call, Require) for each in dependencies_of(dependant))
        if not closed and context.path not in public:
            raise OpenRoute(f"{sorted(context.methods or ())} {context.path} has no require(...)")


def dependencies_of(dependant: Dependant) -> Iterator[Dependant]:
    """`dependant` and everything it depends on."""
    yield dependant
    for each in dependant.dependencies:
        yield from dependencies_of(each)
