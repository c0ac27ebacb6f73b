"""/livez, /readyz and /metrics of a worker, over a server of a few lines."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from eventing.status import Status

_REQUEST_S: Final = 5.0
_REQUEST_BYTES: Final = 8 * 1024
_TEXT: Final = "text/plain; charset=utf-8"


@contextlib.asynccontextmanager
async def serve_probes(host: str, port: int, status: Status) -> AsyncIterator[int]:
    """Serves while the block runs; yields the port, chosen by the system if `port` is 0."""
    server = await asyncio.start_server(
        lambda reader, writer: _answer(reader, writer, status), host, port, limit=_REQUEST_BYTES
    )
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, status: Status) -> None:
    with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        async with asyncio.timeout(_REQUEST_S):
            request = await reader.readuntil(b"\r\n\r\n")
            writer.write(_response(request.split(b" ", 2)[:2], status))
            await writer.drain()
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


def _response(request: list[bytes], status: Status) -> bytes:
    match request:
        case [b"GET", b"/livez"]:  # answering at all is being alive; a restart mends no dependency
            return _http("200 OK", _TEXT, b"alive\n")
        case [b"GET", b"/readyz"]:
            waiting = "".join(f"waiting for {what}: {detail}\n" for what, detail in status.waiting.items())
            return _http("503 Service Unavailable" if waiting else "200 OK", _TEXT, (waiting or "ready\n").encode())
        case [b"GET", b"/metrics"]:
            return _http("200 OK", CONTENT_TYPE_LATEST, generate_latest())
        case [b"GET", _]:
            return _http("404 Not Found", _TEXT, b"not found\n")
        case _:
            return _http("405 Method Not Allowed", _TEXT, b"only GET\n")


def _http(status: str, content_type: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
    return f"{head}\r\n".encode() + body
