"""The benchmark's own HTTP client counts successes only, however their bytes arrive, and hides no waiting."""

import asyncio
from itertools import repeat
from typing import Any

import pytest
from kundenclub.processes import ProcessFailed

from tests.benchmarks.raw_http import Connection, Door, ask_at_once, ask_at_rate

REQUEST = Door("kc_key").get("/v1/members/M1/status")
LATE_S = 0.01


class Server(asyncio.Transport):
    """Answers each request of its connection with `pieces`, each of its own arrival; without any it hangs up."""

    def __init__(self, *pieces: bytes, after_s: float = 0.0) -> None:
        super().__init__()
        self._pieces = pieces
        self._after_s = after_s
        self.asked: list[Any] = []
        self.connection = Connection()
        self.connection.connection_made(self)

    def write(self, data: Any) -> None:
        self.asked.append(data)
        loop = asyncio.get_running_loop()
        for piece in self._pieces:
            loop.call_later(self._after_s, self.connection.data_received, piece)
        if not self._pieces:
            loop.call_soon(self.connection.connection_lost, None)


def test_answers_count_however_they_are_cut_into_pieces() -> None:
    servers = [Server(b"HTTP/1.1 200 OK\r\nContent-Le", b"ngth: 4\r\n\r\nab", b"cd") for _ in range(2)]
    found = asyncio.run(ask_at_once([server.connection for server in servers], repeat(REQUEST), LATE_S))
    assert found.count == sum(len(server.asked) for server in servers) >= 2
    lines = b"GET /v1/members/M1/status HTTP/1.1", b"Host: benchmark", b"Authorization: Bearer kc_key"
    assert servers[0].asked[0] == b"\r\n".join([*lines, b"", b""])


def test_a_post_carries_its_key_and_its_length() -> None:
    head, _, body = Door("kc_key").post("/v1/rewards", "k-1", b"{}").partition(b"\r\n\r\n")
    assert body == b"{}"
    assert head.endswith(b"Content-Type: application/json\r\nContent-Length: 2\r\nIdempotency-Key: k-1")


@pytest.mark.parametrize(
    ("pieces", "why"),
    [
        ([b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 2\r\n\r\nno"], "429: b'no'"),
        ([b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"], "without a length"),
        ([], "closed"),
    ],
)
def test_any_other_answer_ends_the_figure(pieces: list[bytes], why: str) -> None:
    with pytest.raises(ProcessFailed, match=why):
        asyncio.run(ask_at_once([Server(*pieces).connection], repeat(REQUEST), LATE_S))


def test_waiting_for_a_free_connection_is_part_of_the_latency() -> None:
    server = Server(b"HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n", after_s=LATE_S)
    took = asyncio.run(ask_at_rate([server.connection], repeat(REQUEST), rate=10_000, seconds=0.0005))
    assert len(took) == len(server.asked) == 5
    assert [ms >= 0.9 * 1000 * LATE_S * n for n, ms in enumerate(took, start=1)] == [True] * 5
