"""The OpenAPI document of an application, made fit to be published.

FastAPI describes paths and bodies. Added here is what it cannot know: the two ways to send a credential, the headers of
answers, the codes a status can mean, and names that generated clients can live with.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from webapi import problems
from webapi.idempotency import IDEMPOTENCY_KEY, REPLAYED
from webapi.problems import Problem

Document = dict[str, Any]

BEARER = "bearer"
API_KEY = "api_key"
SECURITY_SCHEMES: Document = {
    BEARER: {
        "type": "http",
        "scheme": "bearer",
        "description": "`Authorization: Bearer <credential>`: an access token or an API key.",
    },
    API_KEY: {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "An API key, as the service's command `keys create` prints it once.",
    },
}
REQUEST_ID = "X-Request-Id"
HEADERS: Document = {
    REQUEST_ID: {
        "description": "Names this request in the service's log; the one that was sent along, if it is plain.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
    },
    "Allow": {"description": "The methods there are.", "required": True, "schema": {"type": "string"}},
    "Connection": {
        "description": "`close`: the connection carries no further request.",
        "schema": {"type": "string"},
    },
    REPLAYED: {
        "description": "`true` where the answer to an earlier request with the same Idempotency-Key is repeated.",
        "schema": {"type": "string", "enum": ["true"]},
    },
    "Retry-After": {
        "description": "Seconds to wait before sending the same request again.",
        "schema": {"type": "string", "pattern": "^[0-9]+$"},
    },
    "WWW-Authenticate": {"description": "How to authenticate.", "required": True, "schema": {"type": "string"}},
}
_METHODS = ("get", "put", "post", "delete", "patch", "head")


def operation_id(route: APIRoute) -> str:
    """The function's name: short, and stable as long as the function keeps it."""
    return route.name


def document(app: FastAPI, may_fail: Sequence[type[Problem]]) -> Document:
    """The document of `app`, whose routes may each fail with `may_fail` besides what they declare themselves."""
    made = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    components = {
        "schemas": made.get("components", {}).get("schemas", {}) | {problems.SCHEMA_NAME: problems.SCHEMA},
        "securitySchemes": SECURITY_SCHEMES,
        "headers": {},
    }
    # Parts of it are shared by routes, and with the application: what follows changes them.
    text = json.dumps(made | {"components": components})
    found: Document = json.loads(_with_plain_names(text, components["schemas"]))
    for operation in _operations(found):
        _describe(operation)
        _secure(operation)
        _tell_replays(operation)
        for problem in may_fail:
            problems.declare(operation["responses"], problem, str(problem.status))
        operation["responses"] = dict(sorted(operation["responses"].items()))
        for response in operation["responses"].values():
            response.setdefault("headers", {})[REQUEST_ID] = problems.header_reference(REQUEST_ID)
    found["components"]["headers"] = {name: HEADERS[name] for name in sorted(_headers(found))}
    _drop_titles(found)
    _open_answers(found)
    return found


def _with_plain_names(text: str, schemas: Iterable[str]) -> str:
    """`PageOf_Thing_` becomes `PageOfThing`: generated clients call their types so."""
    for name in schemas:
        if plain := re.sub(r"[^A-Za-z0-9]", "", name):
            text = text.replace(f'"{name}": {{', f'"{plain}": {{').replace(f'/schemas/{name}"', f'/schemas/{plain}"')
    return text


def _operations(found: Document) -> Iterator[Document]:
    for path in found["paths"].values():
        for method in _METHODS:
            if method in path:
                yield path[method]


def _describe(operation: Document) -> None:
    """The summary is the first sentence of the function's docstring."""
    if description := operation.get("description"):
        first = re.split(r"(?<=[.;:])\s", description, maxsplit=1)[0]
        operation["summary"] = first.rstrip(".;:")
    for response in operation["responses"].values():
        if response["description"] == "Successful Response":
            response["description"] = "Done"


def _secure(operation: Document) -> None:
    """What needs a credential takes it in either of the two ways; both name the scopes it must have."""
    if required := operation.get("security"):
        scopes = sorted({scope for each in required for names in each.values() for scope in names})
        operation["security"] = [{BEARER: scopes}, {API_KEY: scopes}]
        needed = ", ".join(f"`{scope}`" for scope in scopes)
        if needed:
            operation["description"] = f"{operation.get('description', '')}\n\nNeeds the scope {needed}.".strip()


def _tell_replays(operation: Document) -> None:
    """What takes an Idempotency-Key says of a repeated answer that it is one."""
    if any(each["name"] == IDEMPOTENCY_KEY for each in operation.get("parameters", [])):
        for status, response in operation["responses"].items():
            if status.startswith("2"):
                response.setdefault("headers", {})[REPLAYED] = problems.header_reference(REPLAYED)


def _headers(found: Document) -> set[str]:
    """The names of the headers that are referred to."""
    answers = [response for operation in _operations(found) for response in operation["responses"].values()]
    return {name for answer in answers for name in answer["headers"] if name in HEADERS}


def _drop_titles(node: Any) -> None:
    """Titles that pydantic makes of field names tell nothing, and some generators make types of them."""
    if isinstance(node, dict):
        if isinstance(node.get("title"), str) and ("type" in node or "anyOf" in node or "$ref" in node):
            del node["title"]
        for child in node.values():
            _drop_titles(child)
    elif isinstance(node, list):
        for child in node:
            _drop_titles(child)


def _open_answers(found: Document) -> None:
    """Requests refuse unknown fields; answers may get new ones, and a client that refused them would break."""
    sent = set[str]()
    for operation in _operations(found):
        _collect(operation.get("requestBody"), found, sent)
    for name, schema in found["components"]["schemas"].items():
        if name not in sent and schema.get("additionalProperties") is False:
            del schema["additionalProperties"]


def _collect(node: Any, found: Mapping[str, Any], names: set[str]) -> None:
    """Add to `names` the schemas that `node` refers to, directly or not."""
    if isinstance(node, dict):
        reference = node.get("$ref")
        if isinstance(reference, str):
            name = reference.rsplit("/", 1)[-1]
            if name not in names and name in found["components"]["schemas"]:
                names.add(name)
                _collect(found["components"]["schemas"][name], found, names)
        for child in node.values():
            _collect(child, found, names)
    elif isinstance(node, list):
        for child in node:
            _collect(child, found, names)
