"""What is sent again, what is not, and what each answer becomes: against a server on a socket, sync and async alike."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from kundenclub_client import AsyncClient, Call, Client, NoAnswer, Unreadable, calls, errors, problems, results

JOINED: Any = (200, {}, {"member_id": "M1", "joined_at": "2026-11-22T10:15:30Z", "later": "field"})


def problem(status: int, code: str, headers: dict[str, str] | None = None, **members: Any) -> Any:
    body = {"type": "urn:x", "title": "T", "status": status, "code": code, "detail": "why", "request_id": "r1"}
    return status, headers or {}, body | members


class Script:
    """A server that gives prepared answers in turn, the last one for ever; None: it hangs up."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.heard: list[tuple[str, str, dict[str, str], bytes]] = []

    def next(self) -> Any:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.fixture
def serve() -> Iterator[Callable[..., tuple[Script, str]]]:
    """`serve(*answers)`: the script of a server, and its address."""
    servers: list[ThreadingHTTPServer] = []

    def start(*answers: Any) -> tuple[Script, str]:
        script = Script(*answers)

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                length = int(self.headers.get("Content-Length", "0"))
                script.heard.append((self.command, self.path, dict(self.headers), self.rfile.read(length)))
                given = script.next()
                if given is None:
                    return
                status, headers, body = given
                content = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_PUT = do_POST = do_DELETE = answer

            def log_message(self, format: str, *args: Any) -> None:
                """Not to the terminal."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return script, f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def send_sync(url: str, call: Call[Any], **options: Any) -> Any:
    """`known` among the options: only if it changed."""
    conditions = {"known": options.pop("known")} if "known" in options else None
    with Client(url, **({"api_key": "k"} | options)) as client:
        return client.send(call) if conditions is None else client.send_if_changed(call, **conditions)


def send_async(url: str, call: Call[Any], **options: Any) -> Any:
    conditions = {"known": options.pop("known")} if "known" in options else None

    async def run() -> Any:
        async with AsyncClient(url, **({"api_key": "k"} | options)) as client:
            return await (client.send(call) if conditions is None else client.send_if_changed(call, **conditions))

    return asyncio.run(run())


Send = Callable[..., Any]
both = pytest.mark.parametrize("send", [send_sync, send_async])
Serve = Callable[..., tuple[Script, str]]


@both
def test_a_result_is_typed_and_new_fields_are_passed_over(serve: Serve, send: Send) -> None:
    script, url = serve(JOINED)
    joined = send(url, calls.join("M1"))
    assert isinstance(joined, results.Joined)
    assert joined.joined_at.tzinfo is not None
    [(method, path, headers, _)] = script.heard
    assert (method, path, headers["X-API-Key"]) == ("PUT", "/v1/members/M1", "k")


@both
@pytest.mark.parametrize(
    "first",
    [
        None,
        problem(503, "unavailable", {"Retry-After": "0"}),
        problem(409, "request_in_flight"),
        problem(429, "too_many_requests", {"Retry-After": "0"}),
    ],
)
def test_what_may_work_later_is_sent_again_with_its_key(serve: Serve, send: Send, first: Any) -> None:
    voucher = {"kind": "voucher", "voucher_id": "0" * 32, "code": "C", "value_cents": 500, "points": 500}
    script, url = serve(first, (201, {}, voucher | {"valid_until": "2030-01-01T00:00:00Z", "balance_points": 1}))
    assert isinstance(send(url, calls.spend("M1")), results.IssuedVoucher)
    keys = [headers["Idempotency-Key"] for *_, headers, _ in script.heard]
    assert len(keys) == 2
    assert len(set(keys)) == 1
    assert len({body for *_, body in script.heard}) == 1


@both
@pytest.mark.parametrize(
    ("answer", "kind", "base"),
    [
        (problem(409, "insufficient_points", balance_points=1), problems.InsufficientPoints, errors.Conflict),
        (problem(404, "voucher_not_found"), problems.VoucherNotFound, errors.Missing),
        (problem(401, "unauthorized"), problems.Unauthorized, errors.BadCredential),
        (problem(422, "malformed"), problems.Malformed, errors.Refused),
        (problem(500, "internal"), problems.Internal, errors.ServiceFailed),
        (problem(429, "too_many_attempts", {"Retry-After": "1"}), problems.TooManyAttempts, errors.TooMany),
        (problem(429, "too_many_requests", {"Retry-After": "60"}), problems.TooManyRequests, errors.TooMany),
        (problem(409, "brand_new"), errors.Conflict, errors.Conflict),
        (problem(507, "brand_new"), errors.ServiceFailed, errors.ServiceFailed),
    ],
)
def test_what_is_refused_is_refused_once(serve: Serve, send: Send, answer: Any, kind: Any, base: Any) -> None:
    script, url = serve(answer)
    with pytest.raises(errors.ServiceProblem) as raised:
        send(url, calls.spend("M1"))
    assert type(raised.value) is kind
    assert isinstance(raised.value, base)
    assert (raised.value.status, raised.value.code, raised.value.request_id) == (answer[0], answer[2]["code"], "r1")
    assert raised.value.members == answer[2]
    assert len(script.heard) == 1


@both
def test_nothing_is_tried_for_ever(serve: Serve, send: Send) -> None:
    script, url = serve(None)
    with pytest.raises(NoAnswer, match="join_club"):
        send(url, calls.join("M1"), attempts=3)
    assert len(script.heard) == 3


@both
@pytest.mark.parametrize("answer", [(200, {}, b"<html>"), (502, {}, b"<html>"), (200, {}, {"member_id": 5})])
def test_an_answer_of_something_else_is_unreadable(serve: Serve, send: Send, answer: Any) -> None:
    script, url = serve(answer)
    with pytest.raises(Unreadable):
        send(url, calls.join("M1"))
    assert len(script.heard) == 1


@both
def test_an_answer_that_did_not_change_is_the_one_that_is_known(serve: Serve, send: Send) -> None:
    script, url = serve(
        (200, {"ETag": '"1"'}, JOINED[2]), (304, {"ETag": '"1"'}, b""), (200, {"ETag": '"2"'}, JOINED[2])
    )
    first = send(url, calls.join("M1"), known=None)
    assert (first.value, first.etag) == (send_sync(serve(JOINED)[1], calls.join("M1")), '"1"')
    assert send(url, calls.join("M1"), known=first) is first
    assert send(url, calls.join("M1"), known=first).etag == '"2"'
    assert [headers.get("If-None-Match") for *_, headers, _ in script.heard] == [None, '"1"', '"1"']


@both
def test_an_unasked_304_is_no_answer(serve: Serve, send: Send) -> None:
    _, url = serve((304, {}, b""))
    with pytest.raises(Unreadable):
        send(url, calls.join("M1"))


@both
def test_a_call_may_have_no_result(serve: Serve, send: Send) -> None:
    script, url = serve((204, {}, b""))
    assert send(url, calls.erase("M1")) is None
    assert script.heard[0][0] == "DELETE"


@both
def test_a_token_is_asked_for_each_time(serve: Serve, send: Send) -> None:
    tokens = iter(["one", "two"])
    script, url = serve(problem(503, "unavailable", {"Retry-After": "0"}), JOINED)
    send(url, calls.join("M1"), api_key=None, token=lambda: next(tokens))
    assert [headers["Authorization"] for *_, headers, _ in script.heard] == ["Bearer one", "Bearer two"]


def test_there_is_one_credential() -> None:
    with pytest.raises(ValueError, match="API key or a token"):
        Client("http://127.0.0.1")


def test_a_call_shows_no_code() -> None:
    assert "SECRET" not in repr(calls.check("SECRET"))
