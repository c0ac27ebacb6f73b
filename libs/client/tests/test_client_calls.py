"""The client against the OpenAPI documents: every call is a route, and every result one it answers."""

import json
import types
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args, get_origin

import jsonschema
import msgspec
import pytest
from kundenclub_client import Call, calls, problems, results

CONTRACTS = Path(__file__).parents[3] / "contracts"
DOCUMENTS = [json.loads(path.read_text()) for path in sorted((CONTRACTS / "openapi").glob("*.json"))]
BASKET = {"food": 1890}
CALLS: list[Call[Any]] = [
    calls.join("M1"),
    calls.member("M1"),
    calls.status("M1"),
    calls.entries("M1", cursor="WzJd", limit=10),
    calls.purchase("M1", "p:1"),
    calls.quote(BASKET, member_id="M1", occurred_at=datetime(2026, 11, 1, tzinfo=UTC), code="C", purchase_id="p1"),
    calls.rewards(),
    calls.spend("M1"),
    calls.vouchers("M1", state="open", cursor="WzJd"),
    calls.check("C"),
    calls.reserve("C", "p1", BASKET),
    calls.redeem("C", "p1", BASKET),
    calls.release("C", "p1"),
    calls.undo("C", "p1"),
    calls.cancel("0" * 32),
    calls.adjust("M1", 50, "goodwill", "a complaint"),
    calls.export("M1"),
    calls.erase("M1"),
    calls.offers("M1", cursor="WzJd"),
    calls.claim(17, "M1", slot_no=3),
    calls.cancel_claim(17, "M1"),
    calls.claims("M1", cursor="WzJd"),
    calls.consents("M1"),
    calls.decide("M1", "email", granted=True, source="webshop", decided_at=datetime(2026, 11, 1, tzinfo=UTC)),
]
JSON_TYPES = {
    str: "string",
    int: "integer",
    bool: "boolean",
    datetime: "string",
    types.NoneType: "null",
    list: "array",
    dict: "object",
}


def operation(call: Call[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The document and the operation of a call."""
    for document in DOCUMENTS:
        found = document["paths"].get(call.template, {}).get(call.method.lower())
        if found is not None and found["operationId"] == call.operation_id:
            return document, found
    raise AssertionError(f"no route {call.method} {call.template} is called {call.operation_id}")


def resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[-1]]
    return schema


def unlike(document: dict[str, Any], schema: dict[str, Any], kind: Any, where: str) -> list[str]:
    """Where a result is not what the schema says: a field it has not, or may leave out, or of another type."""
    schema = resolved(document, schema)
    branches = [resolved(document, each) for each in schema.get("anyOf", schema.get("oneOf", [schema]))]
    members = get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    found = []
    if len(members) != len(branches):
        found.append(f"{where}: {kind} is not {schema}")
    for branch in branches:
        if not any(fits(document, branch, member, where) == [] for member in members):
            found += [why for member in members for why in fits(document, branch, member, where)]
    return found


def fits(document: dict[str, Any], schema: dict[str, Any], kind: Any, where: str) -> list[str]:
    origin = get_origin(kind) or kind
    if isinstance(origin, type) and issubclass(origin, msgspec.Struct):
        properties, required = schema.get("properties", {}), schema.get("required", [])
        found = [] if schema.get("type") == "object" else [f"{where}: is {schema}"]
        for field in msgspec.structs.fields(kind):
            if field.name not in properties or field.name not in required:
                found.append(f"{where}/{field.name}: {'optional' if field.name in properties else 'unknown'}")
            else:
                found += unlike(document, properties[field.name], field.type, f"{where}/{field.name}")
        return found
    if schema.get("type") != JSON_TYPES[origin]:
        return [f"{where}: {schema.get('type')} is not {kind}"]
    if origin is datetime:
        return [] if schema.get("format") == "date-time" else [f"{where}: is no instant"]
    return unlike(document, schema["items"], get_args(kind)[0], f"{where}[]") if origin is list else []


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.operation_id)
def test_a_call_is_a_route_and_its_result_is_what_that_answers(call: Call[Any]) -> None:
    document, found = operation(call)
    answers = [answer for status, answer in found["responses"].items() if status.startswith("2")]
    for answer in answers:
        if call.result is None:
            assert "content" not in answer
            continue
        assert unlike(document, answer["content"]["application/json"]["schema"], call.result, "") == []
    takes = {each["name"] for each in found.get("parameters", [])}
    assert {*call.path, *call.query} <= takes
    assert ("Idempotency-Key" in takes) == (call.idempotency_key is not None)
    if call.body is not None:
        schema = found["requestBody"]["content"]["application/json"]["schema"]
        whole = {"$ref": schema["$ref"], "components": document["components"]}
        jsonschema.Draft202012Validator(whole).validate(call.body)
    assert (call.body is None) == ("requestBody" not in found)


def test_every_call_is_here() -> None:
    made = {name for name, each in vars(calls).items() if isinstance(each, types.FunctionType) and name[0] != "_"}
    assert made - {"given", "new_key"} == {
        "join", "member", "status", "entries", "purchase", "quote", "rewards", "spend", "vouchers", "check", "reserve",
        "redeem", "release", "undo", "cancel", "adjust", "export", "erase", "offers", "claim", "cancel_claim", "claims",
        "consents", "decide",
    }  # fmt: skip
    assert len(CALLS) == 24


def test_a_wrong_result_is_seen() -> None:
    class Wrong(results.Result, frozen=True, kw_only=True):
        joined_at: int
        name: str

    document, found = operation(calls.join("M1"))
    schema = found["responses"]["200"]["content"]["application/json"]["schema"]
    assert unlike(document, schema, Wrong, "") == ["/joined_at: string is not <class 'int'>", "/name: unknown"]


def test_every_code_that_a_call_can_meet_has_a_class() -> None:
    codes = {
        code
        for call in CALLS
        for answer in operation(call)[1]["responses"].values()
        for schema in [answer.get("content", {}).get("application/problem+json", {}).get("schema", {})]
        for code in schema.get("allOf", [{}, {"properties": {"code": {"enum": []}}}])[1]["properties"]["code"]["enum"]
    }
    assert codes == set(problems.BY_CODE)
    assert issubclass(problems.InsufficientPoints, Exception)


def test_ids_cannot_change_the_path() -> None:
    assert calls.member("../x?y").url == "/v1/members/..%2Fx%3Fy"
