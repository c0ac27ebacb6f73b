"""What goes wrong, told one way: RFC 9457 problem details.

A service names each of its failures as a `Problem` class with its HTTP status and a stable code, beside the feature
it belongs to. Everything else that can fail - routing, validation, an unforeseen error - is told in the same form.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, ClassVar

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

MEDIA_TYPE = "application/problem+json"
SCHEMA_NAME = "Problem"
REPORTED_ERRORS = 20
REPORTED_CHARACTERS = 200

SCHEMA: dict[str, Any] = {
    "type": "object",
    "title": SCHEMA_NAME,
    "description": "Problem details (RFC 9457). Programs decide by `code`; `detail` is for people.",
    "required": ["type", "title", "status", "code", "detail", "request_id"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string"},
        "detail": {"type": "string"},
        "request_id": {"type": "string", "description": "names this request in the service's log"},
    },
    "additionalProperties": True,
}


class Problem(Exception):
    """A failure that the caller is told about. Subclasses say `status`, `code` and `title`."""

    status: ClassVar[int]
    code: ClassVar[str]
    title: ClassVar[str]
    header_names: ClassVar[tuple[str, ...]] = ()
    """What `headers` has, for the document; each is described in openapi.HEADERS."""
    limited: ClassVar[bool] = False
    """Whether it is a guess that failed, of which a client has only so many (see attempts)."""

    def __init_subclass__(cls) -> None:
        missing = [name for name in ("status", "code", "title") if not hasattr(cls, name)]
        if missing:
            raise TypeError(f"{cls.__name__} must define {', '.join(missing)}")

    def __init__(self, detail: str, **extensions: Any) -> None:
        """`detail` explains this occurrence; `extensions` are further JSON members of the problem."""
        super().__init__(detail)
        self.detail = detail
        self.extensions = extensions

    @property
    def headers(self) -> Mapping[str, str]:
        return {}


class Unauthorized(Problem):
    status = 401
    code = "unauthorized"
    title = "A valid credential is needed"
    header_names = ("WWW-Authenticate",)

    @property
    def headers(self) -> Mapping[str, str]:
        return {"WWW-Authenticate": "Bearer"}


class Forbidden(Problem):
    status = 403
    code = "forbidden"
    title = "The credential does not allow this"


class NotFound(Problem):
    status = 404
    code = "not_found"
    title = "There is no such thing"


class MethodNotAllowed(Problem):
    status = 405
    code = "method_not_allowed"
    title = "This resource has no such method"
    header_names = ("Allow",)

    @property
    def headers(self) -> Mapping[str, str]:
        return {"Allow": ", ".join(self.extensions["allowed"])}


class TooLarge(Problem):
    status = 413
    code = "too_large"
    title = "The request body is too large"
    header_names = ("Connection",)

    @property
    def headers(self) -> Mapping[str, str]:
        # The rest of the body was not read, so the connection cannot carry another request.
        return {"Connection": "close"}


class UnsupportedMediaType(Problem):
    status = 415
    code = "unsupported_media_type"
    title = "Send JSON"


class Malformed(Problem):
    """`errors` is a list of {"in", "pointer", "detail"}: where, which field (RFC 6901), and what is wrong."""

    status = 422
    code = "malformed"
    title = "The request is malformed"

    @classmethod
    def at(cls, place: str, field: str, detail: str) -> "Malformed":
        """One wrong field: `place` is body, path, query or header; `field` may be deeper, as in lines/0/sku."""
        return cls(f"{field}: {detail}", errors=[_error(place, field.split("/"), detail)])


class _TryLater(Problem):
    """Carries `retry_after_seconds`, also as the header."""

    status = 429
    code = "too_many_requests"
    title = "Too many requests of this client"
    header_names = ("Retry-After",)

    @property
    def headers(self) -> Mapping[str, str]:
        return {"Retry-After": str(self.extensions.get("retry_after_seconds", 1))}


class TooManyRequests(_TryLater):
    """The client calls more often than it may."""


class TooManyAttempts(_TryLater):
    """The client has failed too often at what is secret; right guesses are refused too until then."""

    code = "too_many_attempts"
    title = "Too many failed attempts of this client"


class Internal(Problem):
    status = 500
    code = "internal"
    title = "Something failed on our side"


class Unavailable(Problem):
    """Nothing is wrong with the request; the same one may succeed in `retry_after_seconds`."""

    status = 503
    code = "unavailable"
    title = "The service is not available just now"
    header_names = ("Retry-After",)
    retry_after_seconds: ClassVar[int] = 1

    @property
    def headers(self) -> Mapping[str, str]:
        return {"Retry-After": str(self.retry_after_seconds)}


class RefusedBody(HTTPException):
    """Raised where the body is read: an HTTPException is the only kind that the framework lets through there."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.status)
        self.problem = problem


def install(app: FastAPI) -> None:
    """Render every failure of `app` as problem details; what is malformed, `app` hands to `on_validation_error`."""
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(HTTPException, _on_http_exception)


def render(request: Request, problem: Problem) -> JSONResponse:
    """The response for `problem`; remembers it on the request, for the log."""
    request.state.problem = problem
    body = {
        "type": f"urn:problem-type:{problem.code}",
        "title": problem.title,
        "status": problem.status,
        "code": problem.code,
        "detail": problem.detail,
        "request_id": request.state.request_id,
    }
    return JSONResponse(body | problem.extensions, problem.status, headers=dict(problem.headers), media_type=MEDIA_TYPE)


def responses(*problems: type[Problem]) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI `responses` of a route that can fail with `problems`."""
    declared: dict[int | str, dict[str, Any]] = {}
    if any(problem.limited for problem in problems):
        problems += (TooManyAttempts,)
    for problem in sorted(problems, key=lambda problem: problem.status):
        declare(declared, problem, problem.status)
    return declared


def declare(responses: dict[Any, dict[str, Any]], problem: type[Problem], status: int | str) -> None:
    """Add `problem` to those that OpenAPI's `responses` tell of under `status`."""
    response = responses.setdefault(status, {"description": ""})
    codes: list[str] = []
    if MEDIA_TYPE in response.setdefault("content", {}):
        codes = response["content"][MEDIA_TYPE]["schema"]["allOf"][1]["properties"]["code"]["enum"]
    if problem.code in codes:
        return
    told = f"`{problem.code}`: {problem.title}"
    response["description"] = f"{response['description']}; {told}" if codes else told
    enum = [*codes, problem.code]
    schema = [{"$ref": f"#/components/schemas/{SCHEMA_NAME}"}, {"properties": {"code": {"enum": enum}}}]
    response["content"][MEDIA_TYPE] = {"schema": {"allOf": schema}}
    for name in problem.header_names:
        response.setdefault("headers", {})[name] = header_reference(name)


def header_reference(name: str) -> dict[str, str]:
    """The header as the document describes it."""
    return {"$ref": f"#/components/headers/{name}"}


async def _on_problem(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Problem)
    if not error.limited:
        return render(request, error)
    try:  # the request's transaction was rolled back, and its connection given back, before this is called
        answer: Problem = await request.app.state.attempts.answer(request.state.caller.system, error)
    except Problem as uncounted:
        answer = uncounted
    return render(request, answer)


async def _on_http_exception(request: Request, error: Exception) -> JSONResponse:
    """What the framework itself refuses. Services raise a `Problem` of their own instead."""
    assert isinstance(error, HTTPException)
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        return render(request, MethodNotAllowed("use one of the allowed methods", allowed=_allowed(request)))
    return render(request, _of_framework(error))


def _allowed(request: Request) -> list[str]:
    """The methods of all routes of this path; the framework knows those of the first one."""
    methods: set[str] = set()
    for context in iter_route_contexts(request.app.routes):
        if compile_path(context.path or "")[0].match(request.url.path):
            methods |= set(context.methods or ())
    return sorted(methods)


def _of_framework(error: HTTPException) -> Problem:
    if isinstance(error, RefusedBody):
        return error.problem
    match error.status_code:
        case HTTPStatus.NOT_FOUND:
            return NotFound("there is no such path")
        case HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return TooLarge(error.detail)
        case HTTPStatus.BAD_REQUEST:
            return Malformed("the body is not JSON", errors=[_error("body", (), "not readable as JSON")])
    raise error


async def on_validation_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    if isinstance(error.body, bytes):  # the framework parses a body only when it is declared as JSON
        return render(request, UnsupportedMediaType("the body must be sent as application/json"))
    errors = [_located(each) for each in error.errors()[:REPORTED_ERRORS]]
    first = errors[0]
    where = first["pointer"].lstrip("#/") or first["in"]
    return render(request, Malformed(f"{where}: {first['detail']}", errors=errors))


def _located(error: Mapping[str, Any]) -> dict[str, str]:
    """Where and what, never the value: it may be a secret, and callers log what they are told."""
    place, *path = error["loc"]
    if error["type"] == "json_invalid":
        return _error(place, (), f"not valid JSON at character {path[0]}: {error['ctx']['error']}")
    return _error(place, path, error["msg"])


def _error(place: str, path: Sequence[str | int], detail: str) -> dict[str, str]:
    steps = "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in path)
    return {"in": place, "pointer": "#" + steps[:REPORTED_CHARACTERS], "detail": detail[:REPORTED_CHARACTERS]}
