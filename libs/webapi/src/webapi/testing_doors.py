"""For tests of services: every door that the OpenAPI document names, tried by who may not come in."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import httpx
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from webapi.auth import Require, dependencies_of
from webapi.database import Connection
from webapi.problems import MEDIA_TYPE
from webapi.testing import credential
from webapi.testing_issuer import token

JSON = "application/json"
GARBAGE: tuple[Mapping[str, str], ...] = (
    {"Authorization": "Bearer"},
    {"Authorization": "Basic YTpi"},
    {"Authorization": "Bearer kc_aaaa_" + "0" * 64},
    {"Authorization": "Bearer " + "x" * 9_000},
    {"X-API-Key": "' OR 1=1 --"},
    {"X-API-Key": ""},
    {"Authorization": "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0."},
    {"Cookie": "session=1", "X-Forwarded-User": "admin"},
)


class Door(NamedTuple):
    """An operation of the document and the scopes it says it needs."""

    method: str
    path: str
    scopes: frozenset[str]


def doors(app: FastAPI) -> list[Door]:
    """All of them, with something in place of each parameter."""
    return [
        Door(method.upper(), re.sub(r"\{\w+\}", "a", path), frozenset(_scopes(operation)))
        for path, methods in app.openapi()["paths"].items()
        for method, operation in methods.items()
    ]


def _scopes(operation: Mapping[str, list[Mapping[str, list[str]]]]) -> Iterator[str]:
    for way in operation["security"]:
        for scopes in way.values():
            yield from scopes


def scopes_of(app: FastAPI) -> set[str]:
    """All that any route requires, whether or not it is documented."""
    found: set[str] = set()
    for context in iter_route_contexts(app.routes):
        for each in dependencies_of(context.dependant) if getattr(context, "dependant", None) else ():
            found |= each.call.scopes if isinstance(each.call, Require) else set()
    return found


async def open_doors(
    app: FastAPI, client: httpx.AsyncClient, connection: Connection, scopes: Iterable[str]
) -> list[str]:
    """What is not as it should be: 401 for strangers, 403 for who has all `scopes` but the one needed; as problems."""
    found: list[str] = []

    async def expect(door: Door, headers: Mapping[str, str], status: int, who: str) -> None:
        for content in (None, b"{}", b"{"):
            sent = {**headers} if content == b"{" else {**headers, "Idempotency-Key": "k"}
            sent |= {} if content is None else {"Content-Type": JSON}
            path = door.path if status == 403 else f"{door.path}?cursor=%00&limit=x&at=never"
            answer = await client.request(door.method, path, headers=sent, content=content)
            told = answer.headers.get("content-type")
            if (answer.status_code, told) != (status, MEDIA_TYPE):
                found.append(f"{door.method} {door.path} by {who}: {answer.status_code} {told}")

    for door in doors(app):
        if not door.scopes:
            found.append(f"{door.method} {door.path} needs no scope")
        await expect(door, {}, 401, "nobody")
        for headers in GARBAGE:
            await expect(door, headers, 401, str(headers)[:60])
        for scope in door.scopes:
            others = set(scopes) - {scope}
            await expect(door, await credential(connection, *others), 403, f"a key without {scope}")
            bearer = {"Authorization": f"Bearer {token(scope=' '.join(others))}"}
            await expect(door, bearer, 403, f"a token without {scope}")
            await expect(door, {"Authorization": f"Bearer {token(scope=scope, exp=1)}"}, 401, "an old token")
    return found
