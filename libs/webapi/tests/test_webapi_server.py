"""The whole process, from the outside."""

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import httpx
import pytest
from devstack.databases import ServiceDatabase
from webapi import testing

PROGRAM = Path(__file__).with_name("serve_things.py")
STOP_SECONDS = 20


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


class Served:
    def __init__(self, process: asyncio.subprocess.Process, port: int, metrics_port: int) -> None:
        self.process = process
        self.client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}")
        self.metrics_url = f"http://127.0.0.1:{metrics_port}/metrics"

    async def answers(self, path: str, status: int = 200) -> bool:
        try:
            return (await self.client.get(path)).status_code == status
        except httpx.TransportError:
            return False

    async def stop(self, number: signal.Signals) -> tuple[int | None, str]:
        """The exit status and what was printed."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)
        output, _ = await asyncio.wait_for(self.process.communicate(), STOP_SECONDS)
        return self.process.returncode, output.decode()


@contextlib.asynccontextmanager
async def served(url: str, port: int | None = None, metrics_port: int | None = None) -> AsyncIterator[Served]:
    port, metrics_port = port or free_port(), metrics_port or free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(PROGRAM),
        url,
        str(port),
        str(metrics_port),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    server = Served(process, port, metrics_port)
    try:
        yield server
    finally:
        await server.client.aclose()
        if process.returncode is None:
            process.kill()
            await process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_serving_until_told_to_stop(
    database: ServiceDatabase, connection: asyncpg.Connection, number: signal.Signals
) -> None:
    """A request under way is answered before the process ends, and the end is an orderly one."""
    headers = await testing.credential(connection, "things:write")
    async with served(database.app_url) as server:
        await testing.wait_for(lambda: server.answers("/readyz"))
        await connection.execute("SELECT pg_advisory_lock(7)")
        waiting = asyncio.create_task(server.client.post("/v1/wait", headers=headers))
        await testing.wait_for(lambda: somebody_waits(connection))
        stopping = asyncio.create_task(server.stop(number))
        await testing.wait_for(lambda: refuses_connections(server))
        await connection.execute("SELECT pg_advisory_unlock(7)")
        answer = await waiting
        status, output = await stopping
    assert (answer.status_code, answer.json()) == (200, "waited")
    assert (status, "Traceback" in output) == (0, False), output


async def somebody_waits(connection: asyncpg.Connection) -> bool:
    return bool(await connection.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"))


async def refuses_connections(server: Served) -> bool:
    """A connection that was let in just before, and has not asked yet, is closed without an answer: not refused."""
    try:
        async with httpx.AsyncClient() as client:
            await client.get(server.client.base_url.join("/livez"))
    except httpx.ConnectError:
        return True
    except httpx.TransportError:
        return False
    return False


async def test_metrics_have_a_port_of_their_own(database: ServiceDatabase) -> None:
    async with served(database.app_url) as server:
        await testing.wait_for(lambda: server.answers("/readyz"))
        metrics = await server.client.get(server.metrics_url)
        assert 'http_requests_total{method="GET",route="/readyz",status="200"}' in metrics.text
        assert await server.answers("/metrics", 404)


async def test_without_a_database_it_waits_and_says_so() -> None:
    async with served("postgresql://nobody@127.0.0.1:1/nothing") as server:
        await testing.wait_for(lambda: server.answers("/livez"))
        assert await server.answers("/readyz", 503)
        status, output = await server.stop(signal.SIGTERM)
    assert status == 0
    assert "Traceback" not in output
    assert output.count("database not reachable") == 1


@pytest.mark.parametrize("taken", ["port", "metrics_port"])
async def test_a_port_that_is_taken_is_one_line(database: ServiceDatabase, taken: str) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        async with served(database.app_url, **{taken: listener.getsockname()[1]}) as server:
            output, _ = await asyncio.wait_for(server.process.communicate(), STOP_SECONDS)
    text = output.decode()
    assert server.process.returncode, text
    assert "in use" in text
    assert "Traceback" not in text


async def test_a_body_in_chunks_is_limited_on_the_wire(
    database: ServiceDatabase, connection: asyncpg.Connection
) -> None:
    async def body() -> AsyncIterator[bytes]:
        for _ in range(65):  # the last one is too much: what comes after the answer may meet a closed connection
            yield b"a" * 4096

    headers = await testing.credential(connection, "things:write") | {"content-type": "application/json"}
    async with served(database.app_url) as server:
        await testing.wait_for(lambda: server.answers("/readyz"))
        answer = await server.client.post("/v1/echo", content=body(), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


ENDLESS_BYTES = 64 * 1024 * 1024  # more than what waits between two sockets
HEAD = b"POST /v1/echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"


@pytest.mark.parametrize(
    ("beginning", "endless"),
    [
        (b"GET /", b"a"),
        (b"GET / HTTP/1.1\r\nX-Long: ", b"a"),
        (b"GET / HTTP/1.1\r\n", b"X-Many: a\r\n"),
        (HEAD + b"\r\n5\r\n", b"0"),
        (HEAD + b"\r\n1;", b"extension"),
        (HEAD + b"\r\n0\r\n", b"X-Trailer: a\r\n"),
    ],
    ids=["path", "header", "headers", "chunk size", "chunk extension", "trailers"],
)
async def test_nothing_before_or_beside_a_body_is_endless(
    database: ServiceDatabase, beginning: bytes, endless: bytes
) -> None:
    async with served(database.app_url) as server:
        await testing.wait_for(lambda: server.answers("/livez"))
        reader, writer = await asyncio.open_connection("127.0.0.1", server.client.base_url.port)
        writer.write(beginning)
        sent = 0
        with contextlib.suppress(ConnectionError):
            while not reader.at_eof() and sent < ENDLESS_BYTES:
                writer.write(endless * 1000)
                sent += 1000 * len(endless)
                await writer.drain()
        with contextlib.suppress(ConnectionError):
            await asyncio.wait_for(reader.read(), STOP_SECONDS)
        writer.close()
        assert sent < ENDLESS_BYTES, "the connection is still open"
        assert await server.answers("/livez")
