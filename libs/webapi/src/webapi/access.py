"""What is recorded of every request, and what every response carries.

Recorded is the route's template, never the path, query, headers or body: those name people and carry secrets.
"""

import functools
import re
import secrets
import time
import traceback

import structlog
from prometheus_client import Counter, Histogram
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from webapi.problems import Internal, Problem, render

log = structlog.get_logger(__name__)

REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
NO_ROUTE = "(none)"
MAX_CAUSES = 10
KEPT_METRICS = 1_000
# Of an error of the database, the names of what was violated.
TELLING = ("sqlstate", "table_name", "column_name", "constraint_name")

REQUESTS = Counter("http_requests_total", "HTTP requests answered", ("method", "route", "status"))
SECONDS = Histogram(
    "http_request_seconds",
    "Time from the request's arrival to the end of its response",
    ("method", "route"),
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)

POLICY = b"content-security-policy"
# As they go over the wire: every answer gets them.
RESPONSE_HEADERS = (
    (b"cache-control", b"no-store"),
    (POLICY, b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)


class AccessMiddleware:
    """The outermost: names, times, counts and logs the request, and answers for errors nobody foresaw."""

    def __init__(self, app: ASGIApp, quiet: frozenset[str], without_policy: frozenset[str]) -> None:
        """Paths in `quiet` are not logged; pages `without_policy` load scripts, so no policy forbids it."""
        self._app = app
        self._quiet = quiet
        self._without_policy = without_policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})  # what `request.state` shows, which is slow to ask for what is not there
        state["request_id"] = request_id = _request_id(scope)
        status = 0

        async def send_marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                self._mark(scope, message)
            await send(message)

        started = time.perf_counter()
        try:
            await self._app(scope, receive, send_marked)
        except Exception as error:
            log.error("request failed", request_id=request_id, route=_route(scope), exception=trace(error))
            if status:  # too late to say anything else: let the server cut the connection
                raise
            problem = Internal("the error was recorded; name the request_id when you report it")
            await render(Request(scope), problem)(scope, receive, send_marked)
        finally:
            self._record(scope, status, time.perf_counter() - started)

    def _mark(self, scope: Scope, message: Message) -> None:
        headers = [*message.get("headers", ()), (b"x-request-id", scope["state"]["request_id"].encode())]
        given = {name for name, _ in headers}
        if scope["path"] in self._without_policy:
            given.add(POLICY)
        message["headers"] = headers + [header for header in RESPONSE_HEADERS if header[0] not in given]

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in METHODS else "(other)"
        route, state = _route(scope), scope["state"]
        requests, durations = _metrics(method, route, status)
        requests.inc()
        durations.observe(seconds)
        if scope["path"] in self._quiet:
            return
        tell = log.warning if status >= 500 else log.info
        tell(
            "request",
            method=method,
            route=route,
            status=status,
            milliseconds=round(seconds * 1000, 1),
            request_id=state["request_id"],
            client=state.get("client"),
            **_problem_fields(state.get("problem")),
        )


def trace(error: BaseException | None) -> str:
    """Where it happened and what kind of error it is, with what caused it.

    Not its message: an error of the database holds the row, one of pydantic the input. Nor values of local variables.
    """
    parts: list[str] = []
    while error is not None and len(parts) < MAX_CAUSES:
        kind = type(error)
        known = [f"{name}={value}" for name in TELLING if isinstance(value := getattr(error, name, None), str)]
        told = " ".join([f"{kind.__module__}.{kind.__qualname__}", *known])
        parts.append("".join(traceback.format_tb(error.__traceback__)) + told)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\ncaused by\n".join(parts)


@functools.lru_cache(maxsize=KEPT_METRICS)
def _metrics(method: str, route: str, status: int) -> tuple[Counter, Histogram]:
    return REQUESTS.labels(method, route, str(status)), SECONDS.labels(method, route)


def _request_id(scope: Scope) -> str:
    for name, given in scope["headers"]:
        if name == b"x-request-id":
            return given.decode() if REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
    return secrets.token_hex(8)


def _route(scope: Scope) -> str:
    return getattr(scope.get("route"), "path", NO_ROUTE)


def _problem_fields(problem: Problem | None) -> dict[str, str]:
    if problem is None:
        return {}
    cause = problem.__cause__
    return {"problem": problem.code} | ({"cause": type(cause).__name__} if cause else {})
