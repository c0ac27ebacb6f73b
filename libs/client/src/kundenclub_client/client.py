"""Sends calls, in a thread or in an event loop: what is sent and what answers mean is the same for both."""

import json
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
import msgspec
import stamina

from kundenclub_client.call import Call, Versioned
from kundenclub_client.errors import NoAnswer, Problem, Unreadable, kind_of
from kundenclub_client.problems import BY_CODE, RequestInFlight, TooManyRequests, Unavailable

Result = TypeVar("Result")

ATTEMPTS = 4
TOGETHER_SECONDS = 20.0
FIRST_WAIT_SECONDS = 0.2
LONGEST_WAIT_SECONDS = 3.0
TIMEOUT = httpx.Timeout(5.0, connect=2.0)

# Nothing was done, or the same is being done: sending the same call again does no harm.
AGAIN = (Unavailable, RequestInFlight, TooManyRequests)


class Credential(httpx.Auth):
    """An API key, or a function that gives the access token of the moment."""

    def __init__(self, api_key: str | None, token: Callable[[], str] | None) -> None:
        if (api_key is None) == (token is None):
            raise ValueError("give an API key or a token")
        self._api_key = api_key
        self._token = token

    def auth_flow(self, request: httpx.Request) -> Iterator[httpx.Request]:  # type: ignore[override]
        if self._token is not None:
            request.headers["Authorization"] = f"Bearer {self._token()}"
        elif self._api_key is not None:
            request.headers["X-API-Key"] = self._api_key
        yield request


class _Sender:
    """What both clients share."""

    def __init__(self, *, attempts: int, together_seconds: float) -> None:
        self._attempts = attempts
        self._together_seconds = together_seconds

    def _retries(self) -> Any:
        return stamina.retry_context(
            on=_wait_before_another,
            attempts=self._attempts,
            timeout=self._together_seconds,
            wait_initial=FIRST_WAIT_SECONDS,
            wait_max=LONGEST_WAIT_SECONDS,
            wait_jitter=FIRST_WAIT_SECONDS,
        )


class Client(_Sender):
    """For threads; a context manager. One client serves many threads.

    Raises ValueError unless it gets either `api_key` or `token`.
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        token: Callable[[], str] | None = None,
        timeout: httpx.Timeout | float = TIMEOUT,
        attempts: int = ATTEMPTS,
        together_seconds: float = TOGETHER_SECONDS,
    ) -> None:
        """`timeout` is of one attempt, `together_seconds` of all."""
        super().__init__(attempts=attempts, together_seconds=together_seconds)
        self._http = httpx.Client(base_url=base_url, auth=Credential(api_key, token), timeout=timeout)

    def send(self, call: Call[Result]) -> Result:
        """The result of `call`, after as many attempts as it takes. Raises ClientError."""
        return self.send_if_changed(call).value

    def send_if_changed(self, call: Call[Result], known: Versioned[Result] | None = None) -> Versioned[Result]:
        """The same with its ETag; `known` itself if nothing changed since. Raises ClientError."""
        for attempt in self._retries():
            with attempt:
                try:
                    response = self._http.send(_request(self._http, call, known))
                except httpx.TransportError as error:
                    raise NoAnswer(f"{call.operation_id}: {error!r}") from error
                return _result(call, response, known)
        raise AssertionError("the last attempt returns or raises")

    def close(self) -> None:
        """Close the connections; leaving the context does."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class AsyncClient(_Sender):
    """For an event loop; an async context manager. The parameters are those of Client."""

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        token: Callable[[], str] | None = None,
        timeout: httpx.Timeout | float = TIMEOUT,
        attempts: int = ATTEMPTS,
        together_seconds: float = TOGETHER_SECONDS,
    ) -> None:
        super().__init__(attempts=attempts, together_seconds=together_seconds)
        self._http = httpx.AsyncClient(base_url=base_url, auth=Credential(api_key, token), timeout=timeout)

    async def send(self, call: Call[Result]) -> Result:
        """The result of `call`, after as many attempts as it takes. Raises ClientError."""
        return (await self.send_if_changed(call)).value

    async def send_if_changed(self, call: Call[Result], known: Versioned[Result] | None = None) -> Versioned[Result]:
        """The same with its ETag; `known` itself if nothing changed since. Raises ClientError."""
        async for attempt in self._retries():
            with attempt:
                try:
                    response = await self._http.send(_request(self._http, call, known))
                except httpx.TransportError as error:
                    raise NoAnswer(f"{call.operation_id}: {error!r}") from error
                return _result(call, response, known)
        raise AssertionError("the last attempt returns or raises")

    async def close(self) -> None:
        """Close the connections; leaving the context does."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()


def _request(http: httpx.Client | httpx.AsyncClient, call: Call[Any], known: Versioned[Any] | None) -> httpx.Request:
    condition = {"If-None-Match": known.etag} if known is not None and known.etag is not None else {}
    headers = call.headers | condition
    return http.build_request(call.method, call.url, params=dict(call.query) or None, json=call.body, headers=headers)


def _result(call: Call[Result], response: httpx.Response, known: Versioned[Result] | None) -> Versioned[Result]:
    if response.status_code == httpx.codes.NOT_MODIFIED and known is not None:
        return known
    try:
        if response.is_success:
            return Versioned(call.read(response.content), response.headers.get("ETag"))
        members = json.loads(response.content)
        problem = msgspec.convert(members, Problem)
    except (msgspec.DecodeError, ValueError) as error:
        raise Unreadable(
            f"{call.operation_id}: {response.status_code} {response.headers.get('content-type')}"
        ) from error
    after = response.headers.get("Retry-After", "")
    kind = BY_CODE.get(problem.code, kind_of(problem.status))
    raise kind(problem, float(after) if after.isdecimal() else None, members)


def _wait_before_another(error: Exception) -> bool | float:
    """Seconds to wait, True for the usual; False: another attempt would not help, or would have to wait too long."""
    if isinstance(error, NoAnswer):
        return True
    if not isinstance(error, AGAIN):
        return False
    after = error.retry_after_seconds
    if after is None:
        return True
    return False if after > LONGEST_WAIT_SECONDS else max(after, FIRST_WAIT_SECONDS)
