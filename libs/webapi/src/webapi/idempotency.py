"""Idempotency-Key: a request that is sent again does not happen again.

The key belongs to its caller and to one request: a hash over method, full path and body is stored with it, so it can
never replay the answer to another request. Only successes are kept, in the transaction of their effect: there is no
moment at which one exists without the other.
"""

import hashlib
from collections.abc import Callable, Coroutine, Iterable
from typing import Annotated, Any, NamedTuple

import sqlalchemy as sa
from asyncpg.pool import PoolConnectionProxy
from fastapi import FastAPI, Header, Request, Response, Security
from fastapi.routing import APIRoute, iter_route_contexts
from sqlalchemy.dialects.postgresql import BYTEA

from webapi.auth import Caller, Require, dependencies_of
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

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": "1"}


PROBLEMS = (KeyReused, InFlight)


class _Claim(NamedTuple):
    """What the running request will be remembered by."""

    connection: Connection
    caller: str
    key: str
    request_hash: bytes
    about: str | None


class _Replay(Exception):
    def __init__(self, response: Response) -> None:
        self.response = response


class Idempotent(Require):
    """The dependency behind `idempotent`: `require`, and then claims the request's Idempotency-Key."""

    def __init__(self, scopes: Iterable[str], about: str | None = None) -> None:
        super().__init__(scopes)
        self.about = about

    async def __call__(  # type: ignore[override]  # more is injected than `require` needs
        self,
        request: Request,
        transaction: RequestTransaction,
        key: Annotated[
            str,
            Header(
                alias=IDEMPOTENCY_KEY,
                pattern=r"^[\x21-\x7e]{1,255}$",
                description="Made by the caller, new for each thing to do; the same key repeats the answer.",
                examples=["order-184-1"],
            ),
        ],
    ) -> Caller:
        caller = await super().__call__(request)
        about = None if self.about is None else request.path_params[self.about]
        await _claim(request, transaction, caller, key, about)
        return caller


def idempotent(*scopes: str, about: str | None = None) -> Any:
    """Like `require(*scopes)`, and the request needs an Idempotency-Key.

    `about` names the path parameter that says whom the answer is about, for `forget`. The route must belong to an
    `APIRouter(route_class=IdempotentRoute)`.
    """
    return Security(Idempotent(scopes, about), scopes=list(scopes))


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
            claim: _Claim | None = getattr(request.state, "idempotency_claim", None)
            if claim is not None and 200 <= response.status_code < 300:
                await _remember(claim, response.status_code, self.abridge(bytes(response.body)))
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


async def _claim(request: Request, connection: Connection, caller: Caller, key: str, about: str | None) -> None:
    """Raises InFlight, KeyReused, or _Replay; returns when this request is the first of its key."""
    owner = caller.identity
    claim = _Claim(connection, owner, key, await _request_hash(request), about)
    # Tried before anything else is locked: waiting here would only queue up the impatient.
    if not await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", _lock_number(claim)):
        raise InFlight("wait for its answer, then send it again with the same key")
    # A statement of its own: it sees what the previous holder of the lock has committed.
    row = await connection.fetchrow(
        "SELECT request_hash, status, body FROM idempotency_key WHERE caller = $1 AND key = $2", owner, key
    )
    if row is None:
        request.state.idempotency_claim = claim
        return
    if row["request_hash"] != claim.request_hash:
        raise KeyReused("use a new key for a new request")
    route = request.scope["route"]
    assert isinstance(route, IdempotentRoute), "refuse_forgetful_routes lets no other through"
    body = await route.complete(request, connection, row["body"])
    media_type = "application/json" if body else None
    raise _Replay(Response(body, row["status"], headers={REPLAYED: "true"}, media_type=media_type))


async def _request_hash(request: Request) -> bytes:
    path: bytes = request.scope["raw_path"] + b"?" + request.scope["query_string"]
    # Neither a method nor an encoded path can hold a line break, so no two requests give the same bytes.
    return hashlib.sha256(b"\n".join((request.method.encode(), path, await request.body()))).digest()


def _lock_number(claim: _Claim) -> int:
    digest = hashlib.sha256(f"idempotency\n{claim.caller}\n{claim.key}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


async def _remember(claim: _Claim, status: int, body: bytes) -> None:
    await claim.connection.execute(
        "INSERT INTO idempotency_key (caller, key, request_hash, status, body, about) VALUES ($1, $2, $3, $4, $5, $6)",
        claim.caller,
        claim.key,
        claim.request_hash,
        status,
        body,
        claim.about,
    )
