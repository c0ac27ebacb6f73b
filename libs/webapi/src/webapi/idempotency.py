"""Idempotency-Key: a request that is sent again does not happen again.

The key belongs to its caller and to one request: a hash over method, full path and body is stored with it, so it can
never replay the answer to another request. Only successes are kept, in the transaction of their effect: there is no
moment at which one exists without the other.
"""

import hashlib
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Annotated, Any, NamedTuple

import asyncpg
import sqlalchemy as sa
from asyncpg.pool import PoolConnectionProxy
from fastapi import FastAPI, Header, Request, Response, Security
from fastapi.routing import APIRoute, iter_route_contexts
from sqlalchemy.dialects.postgresql import BYTEA

from webapi.auth import Caller, Require, authenticated, dependencies_of
from webapi.database import Connection, RequestTransaction
from webapi.problems import Problem

KEPT_DAYS = 30
IDEMPOTENCY_KEY = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"


def idempotency_key_table(metadata: sa.MetaData) -> sa.Table:
    """The remembered answers; a service's migrations create the table and grant SELECT, INSERT, DELETE."""
    return sa.Table(
        "idempotency_key",
        metadata,
        sa.Column("caller", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("request_hash", BYTEA, nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("body", BYTEA, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("about", sa.Text, comment="whom the answer is about; it goes with them"),
        sa.Index("idempotency_key_created_at", "created_at"),
        sa.Index("idempotency_key_about", "about", postgresql_where=sa.text("about IS NOT NULL")),
    )


class KeyReused(Problem):
    status = 422
    code = "idempotency_key_reused"
    title = "The Idempotency-Key was used for another request"


class InFlight(Problem):
    status = 409
    code = "request_in_flight"
    title = "The same request is being worked on"
    header_names = ("Retry-After",)

    def __init__(
        self, detail: str = "wait for its answer, then send it again with the same key", **extensions: Any
    ) -> None:
        super().__init__(detail, **extensions)

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": "1"}


PROBLEMS = (KeyReused, InFlight)


class Claim(NamedTuple):
    """What a request will be remembered by: whose it is, its key, what it asks for, and whom it is about."""

    caller: str
    key: str
    request_hash: bytes
    about: str | None


class Remembered(NamedTuple):
    """The answer that an earlier request of the same key got."""

    status: int
    body: bytes


class _Replay(Exception):
    def __init__(self, response: Response) -> None:
        self.response = response


Key = Annotated[
    str,
    Header(
        alias=IDEMPOTENCY_KEY,
        pattern=r"^[\x21-\x7e]{1,255}$",
        description="Made by the caller, new for each thing to do; the same key repeats the answer.",
        examples=["order-184-1"],
    ),
]


class Keyed(Require):
    """The dependency behind `keyed`: `require`, and then what the request would be remembered by."""

    def __init__(self, scopes: Iterable[str], about: str | None = None) -> None:
        super().__init__(scopes)
        self.about = about

    async def __call__(self, request: Request, key: Key) -> Claim:  # type: ignore[override]  # `require` needs no key
        caller = await super().__call__(request)
        about = None if self.about is None else request.path_params[self.about]
        return Claim(caller.identity, key, await _request_hash(request), about)


class Idempotent(Keyed):
    """The dependency behind `idempotent`: claims the request's Idempotency-Key in its transaction."""

    async def __call__(  # type: ignore[override]  # more is injected than the other needs
        self, request: Request, transaction: RequestTransaction, key: Key
    ) -> Caller:
        claim = await super().__call__(request, key)
        await _claim(request, transaction, claim)
        return await authenticated(request)


def idempotent(*scopes: str, about: str | None = None) -> Any:
    """Like `require(*scopes)`, and the request needs an Idempotency-Key.

    `about` names the path parameter that says whom the answer is about, for `forget`. The route must belong to an
    `APIRouter(route_class=IdempotentRoute)`.
    """
    return Security(Idempotent(scopes, about), scopes=list(scopes))


def keyed(*scopes: str, about: str | None = None) -> Any:
    """Like `idempotent(...)`, for a route that carries out many requests in one transaction.

    It gets the `Claim`, and has to answer by `claim_all` and `remember_all` itself.
    """
    return Security(Keyed(scopes, about), scopes=list(scopes))


class IdempotentRoute(APIRoute):
    """Remembers the success of a claimed request before its transaction commits, or repeats the remembered one.

    A subclass keeps secrets out of the table: `abridge` takes them out of what is stored, `complete` puts them back.
    """

    def abridge(self, body: bytes) -> bytes:
        """What is stored of a successful answer's body."""
        return body

    async def complete(self, request: Request, connection: Connection, body: bytes) -> bytes:
        """The body to answer with again, of what `abridge` left of it."""
        return body

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_once(request: Request) -> Response:
            try:
                response = await handle(request)
            except _Replay as replay:
                return replay.response
            claimed: tuple[Connection, Claim] | None = getattr(request.state, "idempotency_claim", None)
            if claimed is not None and 200 <= response.status_code < 300:
                connection, claim = claimed
                answer = Remembered(response.status_code, self.abridge(bytes(response.body)))
                await remember_all(connection, [(claim, answer)])
            return response

        return handle_once


class ForgetfulRoute(Exception):
    """An `idempotent(...)` route that would not remember its answers; a defect of the program."""


def refuse_forgetful_routes(app: FastAPI) -> None:
    """Raises ForgetfulRoute unless every route that uses `idempotent(...)` is an IdempotentRoute."""
    for context in iter_route_contexts(app.routes):
        dependant = getattr(context, "dependant", None)
        if dependant is None or isinstance(context.original_route, IdempotentRoute):
            continue
        if any(isinstance(each.call, Idempotent) for each in dependencies_of(dependant)):
            raise ForgetfulRoute(f"{context.path} needs APIRouter(route_class=IdempotentRoute)")


async def purge(connection: Connection, most: int, kept_days: int = KEPT_DAYS) -> int:
    """Forget at most so many answers older than `kept_days`; returns how many. Their keys may be used anew."""
    status = await connection.execute(
        """
        DELETE FROM idempotency_key WHERE (caller, key) IN (
            SELECT caller, key FROM idempotency_key
            WHERE created_at < now() - make_interval(days => $1) ORDER BY created_at LIMIT $2
        )
        """,
        kept_days,
        most,
    )
    return int(status.removeprefix("DELETE "))


async def forget(connection: Connection | PoolConnectionProxy, about: str) -> None:
    """Forget the answers about somebody, in the transaction of the caller."""
    await connection.execute("DELETE FROM idempotency_key WHERE about = $1", about)


async def claim_all(connection: Connection, claims: Sequence[Claim]) -> list[Remembered | Problem | None]:
    """For each whether it is the first of its key (None), has an answer already, or ends in InFlight or KeyReused.

    Their keys differ, and all of one transaction are claimed at once, before anything else is locked: whoever would
    wait here would only queue up the impatient.
    """
    numbers = [_lock_number(claim) for claim in claims]
    free = await connection.fetch(
        "SELECT number FROM unnest($1::bigint[]) AS number WHERE pg_try_advisory_xact_lock(number)", numbers
    )
    claimed = {row["number"] for row in free}
    # A statement of its own: it sees what the previous holders of the locks have committed.
    rows = await connection.fetch(
        """
        SELECT caller, key, request_hash, status, body FROM idempotency_key
        JOIN unnest($1::text[], $2::text[]) AS claimed(caller, key) USING (caller, key)
        """,
        [claim.caller for claim in claims],
        [claim.key for claim in claims],
    )
    known = {(row["caller"], row["key"]): row for row in rows}
    return [
        _outcome(claim, known.get((claim.caller, claim.key))) if number in claimed else InFlight()
        for claim, number in zip(claims, numbers, strict=True)
    ]


def _outcome(claim: Claim, row: asyncpg.Record | None) -> Remembered | Problem | None:
    if row is None:
        return None
    if row["request_hash"] != claim.request_hash:
        return KeyReused("use a new key for a new request")
    return Remembered(row["status"], row["body"])


async def remember_all(connection: Connection, answers: Sequence[tuple[Claim, Remembered]]) -> None:
    """Keep the answers to claimed requests, in the transaction of their effects."""
    await connection.execute(
        """
        INSERT INTO idempotency_key (caller, key, request_hash, status, body, about)
        SELECT * FROM unnest($1::text[], $2::text[], $3::bytea[], $4::int[], $5::bytea[], $6::text[])
        """,
        [claim.caller for claim, _ in answers],
        [claim.key for claim, _ in answers],
        [claim.request_hash for claim, _ in answers],
        [answer.status for _, answer in answers],
        [answer.body for _, answer in answers],
        [claim.about for claim, _ in answers],
    )


def replay(answer: Remembered) -> Response:
    """The answer again, marked as one that was given before."""
    media_type = "application/json" if answer.body else None
    return Response(answer.body, answer.status, headers={REPLAYED: "true"}, media_type=media_type)


async def _claim(request: Request, connection: Connection, claim: Claim) -> None:
    """Raises InFlight, KeyReused, or _Replay; returns when this request is the first of its key."""
    [outcome] = await claim_all(connection, [claim])
    if outcome is None:
        request.state.idempotency_claim = (connection, claim)
    elif isinstance(outcome, Problem):
        raise outcome
    else:
        route = request.scope["route"]
        assert isinstance(route, IdempotentRoute), "refuse_forgetful_routes lets no other through"
        raise _Replay(replay(outcome._replace(body=await route.complete(request, connection, outcome.body))))


async def _request_hash(request: Request) -> bytes:
    path: bytes = request.scope["raw_path"] + b"?" + request.scope["query_string"]
    # Neither a method nor an encoded path can hold a line break, so no two requests give the same bytes.
    return hashlib.sha256(b"\n".join((request.method.encode(), path, await request.body()))).digest()


def _lock_number(claim: Claim) -> int:
    digest = hashlib.sha256(f"idempotency\n{claim.caller}\n{claim.key}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
