"""HTTP/1.1 with as little work a request as Python can: the load must not cost more than what answers it.

One request at a time on a connection that is kept; answers must tell their length, as those of the services do.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from typing import TypeVar
from urllib.parse import urlsplit

from kundenclub.processes import ProcessFailed

CONNECTIONS = 32
ANSWER_S = 30.0
_STATUS = slice(9, 12)
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)

T = TypeVar("T")


class Connection(asyncio.Protocol):
    """A kept connection on which one request is under way at most."""

    def __init__(self) -> None:
        self._received = b""
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end or self._answer is None or self._answer.done():
            return
        length = _LENGTH.search(head)
        if length is None:
            self._answer.set_exception(ProcessFailed(f"an answer without a length: {head[:200]!r}"))
        elif len(body) >= int(length[1]):
            self._received = b""
            self._answer.set_result((int(head[_STATUS]), body))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ProcessFailed(f"the connection was closed: {exc!r}"))

    async def ask(self, request: bytes) -> None:
        """Send a whole request and wait for a success. Raises ProcessFailed for any other answer, or none."""
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        status, body = await self._answer
        if not 200 <= status < 300:
            raise ProcessFailed(f"answered with {status}: {body[:300]!r}")

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


@dataclass(frozen=True)
class Door:
    """Who sends requests."""

    key: str

    def get(self, path: str) -> bytes:
        return self._request("GET", path, "", b"")

    def post(self, path: str, idempotency_key: str, body: bytes) -> bytes:
        more = (
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nIdempotency-Key: {idempotency_key}\r\n"
        )
        return self._request("POST", path, more, body)

    def _request(self, method: str, path: str, more: str, body: bytes) -> bytes:
        head = f"{method} {path} HTTP/1.1\r\nHost: benchmark\r\nAuthorization: Bearer {self.key}\r\n{more}\r\n"
        return head.encode() + body


@asynccontextmanager
async def connected(*urls: str) -> AsyncIterator[list[Connection]]:
    """So many connections to the servers behind some URLs, in turn."""
    loop, connections = asyncio.get_running_loop(), list[Connection]()
    try:
        for address in islice(cycle(map(urlsplit, urls)), CONNECTIONS):
            _, connection = await loop.create_connection(Connection, str(address.hostname), address.port or 80)
            connections.append(connection)
        yield connections
    finally:
        for connection in connections:
            connection.close()


@dataclass(frozen=True)
class Answered:
    """What a server under full load did; `client_percent` is the share of a processor that asking took."""

    count: int
    seconds: float
    client_percent: float

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.count / self.seconds


async def ask_at_once(connections: Sequence[Connection], requests: Iterator[bytes], seconds: float) -> Answered:
    """Let each connection ask again as soon as it is answered. Raises ProcessFailed."""
    began, worked = time.perf_counter(), time.process_time()

    async def ask_again(connection: Connection) -> int:
        count = 0
        while time.perf_counter() - began < seconds:
            await connection.ask(next(requests))
            count += 1
        return count

    counts = await _all(seconds, [ask_again(connection) for connection in connections])
    took = time.perf_counter() - began
    return Answered(sum(counts), took, 100 * (time.process_time() - worked) / took)


async def ask_at_rate(
    connections: Sequence[Connection], requests: Iterator[bytes], rate: int, seconds: float
) -> list[float]:
    """Ask so often a second at instants fixed beforehand; the milliseconds from each such instant to the answer, which
    hold the wait for a free connection too. Raises ProcessFailed.
    """
    free: asyncio.Queue[Connection] = asyncio.Queue()
    for connection in connections:
        free.put_nowait(connection)
    began = time.perf_counter()

    async def ask_at(due: float) -> float:
        await asyncio.sleep(due - time.perf_counter())
        connection = await free.get()
        await connection.ask(next(requests))
        free.put_nowait(connection)
        return (time.perf_counter() - due) * 1000

    return await _all(seconds, [ask_at(began + n / rate) for n in range(round(rate * seconds))])


async def _all(seconds: float, asking: Sequence[Coroutine[None, None, T]]) -> list[T]:
    """What each came to; the first that fails ends all."""
    try:
        async with asyncio.timeout(seconds + ANSWER_S), asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in asking]
    except* ProcessFailed as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]
