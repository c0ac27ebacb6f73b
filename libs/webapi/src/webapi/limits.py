"""Upper bounds of what one request, and all of them together, may take."""

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from webapi.problems import RefusedBody, TooLarge, Unavailable, render

MAX_BODY_BYTES = 256 * 1024
MAX_IN_FLIGHT = 256
MAX_DIGITS = 100

TOO_LARGE = f"at most {MAX_BODY_BYTES} bytes"


class LimitMiddleware:
    """Refuses a body that is, or turns out to be, too large, and a request too many."""

    def __init__(self, app: ASGIApp, max_in_flight: int = MAX_IN_FLIGHT) -> None:
        self._app = app
        self._max_in_flight = max_in_flight
        self._in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif _announced_bytes(scope) > MAX_BODY_BYTES:
            await render(Request(scope), TooLarge(TOO_LARGE))(scope, receive, send)
        elif self._in_flight >= self._max_in_flight:
            await render(Request(scope), Unavailable("too many requests at once"))(scope, receive, send)
        else:
            self._in_flight += 1
            try:
                await self._app(scope, _counting(receive), send)
            finally:
                self._in_flight -= 1


def _announced_bytes(scope: Scope) -> int:
    announced = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"content-length"), "0")
    if not announced.isdecimal():
        return 0
    return int(announced[:MAX_DIGITS]) if announced.lstrip("0") else 0  # a number of any length takes no time to read


def _counting(receive: Receive) -> Receive:
    """For bodies sent in chunks, whose length nobody announces."""
    received_bytes = 0

    async def counted() -> Message:
        nonlocal received_bytes
        message = await receive()
        received_bytes += len(message.get("body", b""))
        if received_bytes > MAX_BODY_BYTES:
            raise RefusedBody(TooLarge(TOO_LARGE))
        return message

    return counted
