"""The contracts hold together, mean what the code does, and every one of these guards bites on a broken copy."""

from __future__ import annotations

import ast
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator, FormatChecker, SchemaError, ValidationError
from programme.facts import MAX_EVENT_BYTES, PURCHASE_COMPLETED, PURCHASE_RETURNED, Refused, accept
from programme.instants import parse_instant
from programme.timeline import CUSTOMER_STATUS_CHANGED, decode_timeline

CONTRACTS = Path(__file__).resolve().parents[1]
ROOT = CONTRACTS.parent

# The record's timestamp of every example.
RECEIVED_US = parse_instant("2027-01-01T00:00:00Z")
HEADERS_AND_BATCH_BYTES = 64 * 1024

KNOWN_FILES = re.compile(
    r"README\.md|programme\.toml|topics/.+\.yaml|schemas/.+\.schema\.json|asyncapi\.yaml|tests/.+\.py|openapi/.+\.json"
    r"|tests/asyncapi/(schema-3\.0\.0\.json|NOTICE\.md)"
    r"|examples/good/[^/]+/[^/]+\.json|examples/bad/[^/]+/[^/]+\.(json|expect\.yaml)"
    r"|conformance/(README\.md|cases\.jsonl)"
)
TOPIC_KEYS = {"topic", "partitions", "key", "config", "writers", "events"}
ANNOTATIONS = {"$schema", "$id", "$defs", "title", "description", "default", "examples"}
SCHEMA_KEYWORDS = ANNOTATIONS | set(Draft202012Validator.VALIDATORS)
EVENT_TYPE = re.compile(r"kundenclub(\.[a-z-]+)+\.v[0-9]+")
# The topics whose same-numbered partitions one worker reads together.
CO_PARTITIONED = {"kundenclub.purchases", "kundenclub.members", "kundenclub.customer-status"}

Guard = Callable[[Path], list[str]]


def topics(contracts: Path) -> dict[str, dict[str, Any]]:
    return {path.stem: yaml.safe_load(path.read_text()) for path in sorted(contracts.glob("topics/*.yaml"))}


def schemas(contracts: Path) -> dict[str, dict[str, Any]]:
    paths = sorted(contracts.glob("schemas/*.schema.json"))
    return {path.name.removesuffix(".schema.json"): json.loads(path.read_text()) for path in paths}


def event_types(contracts: Path) -> list[str]:
    return [event["type"] for topic in topics(contracts).values() for event in topic["events"]]


def subschemas(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield schema
    children = [*schema.get("properties", {}).values(), *schema.get("$defs", {}).values()]
    children += [*schema.get("prefixItems", []), *schema.get("anyOf", [])]
    children += [schema[keyword] for keyword in ("items", "not") if isinstance(schema.get(keyword), dict)]
    for child in children:
        yield from subschemas(child)


def stray_files(contracts: Path) -> list[str]:
    paths = [path.relative_to(contracts) for path in contracts.rglob("*") if path.is_file()]
    names = [path.as_posix() for path in paths if "__pycache__" not in path.parts]
    return [name for name in names if not KNOWN_FILES.fullmatch(name)]


def badly_described_topics(contracts: Path) -> list[str]:
    found = []
    for name, topic in topics(contracts).items():
        if set(topic) != TOPIC_KEYS:
            found.append(f"{name}: keys {sorted(set(topic) ^ TOPIC_KEYS)}")
            continue
        sound = {
            "topic": topic["topic"] == name,
            "partitions": isinstance(topic["partitions"], int) and topic["partitions"] > 0,
            "key": topic["key"] == "member_id",
            "config": all(isinstance(value, str) for value in topic["config"].values()),
            "writers": bool(topic["writers"]),
            "events": bool(topic["events"]),
        }
        found += [f"{name}: {key}" for key, is_sound in sound.items() if not is_sound]
    return found


def differing_partitions(contracts: Path) -> list[str]:
    partitions = {name: topics(contracts).get(name, {}).get("partitions") for name in CO_PARTITIONED}
    return [] if len(set(partitions.values())) == 1 else [f"{partitions}"]


def purchases_that_do_not_fit(contracts: Path) -> list[str]:
    limit = int(topics(contracts)["kundenclub.purchases"]["config"]["max.message.bytes"])
    return [] if limit >= MAX_EVENT_BYTES + HEADERS_AND_BATCH_BYTES else [f"max.message.bytes: {limit}"]


def unpaired_schemas(contracts: Path) -> list[str]:
    """Every event type has its schema, every schema its event type, and no type is on two topics."""
    types = event_types(contracts)
    events = [event for topic in topics(contracts).values() for event in topic["events"]]
    misnamed = [e["schema"] for e in events if e["schema"] != f"schemas/{e['type']}.schema.json"]
    twice = sorted({name for name in types if types.count(name) > 1})
    return misnamed + twice + sorted(set(types) ^ set(schemas(contracts)))


def unsound_schemas(contracts: Path) -> list[str]:
    """A misspelt keyword or property name would be a guard that never bites."""
    found = []
    for name, schema in schemas(contracts).items():
        try:
            Draft202012Validator.check_schema(schema)
        except SchemaError as error:
            found.append(f"{name}: {error.message}")
            continue
        if schema.get("$schema") != Draft202012Validator.META_SCHEMA["$id"]:
            found.append(f"{name}: $schema")
        if schema.get("$id") != f"urn:{name.replace('.', ':')}":
            found.append(f"{name}: $id")
        for part in subschemas(schema):
            found += [f"{name}: unknown keyword {keyword}" for keyword in set(part) - SCHEMA_KEYWORDS]
            undescribed = set(part.get("required", [])) - set(part.get("properties", {}))
            found += [f"{name}: required but not described: {field}" for field in undescribed]
        used = set(re.findall(r'"#/\$defs/(\w+)"', json.dumps(schema)))
        found += [f"{name}: $defs {definition}" for definition in used ^ set(schema.get("$defs", {}))]
    return found


def differing_definitions(contracts: Path) -> list[str]:
    """Schemas stand alone, for whoever takes only one of them; what they share must not drift apart."""
    found: dict[str, set[str]] = {}
    for schema in schemas(contracts).values():
        for name, definition in schema.get("$defs", {}).items():
            found.setdefault(name, set()).add(json.dumps(definition, sort_keys=True))
    return sorted(name for name, versions in found.items() if len(versions) > 1)


def missing_examples(contracts: Path) -> list[str]:
    found = []
    for verdict in ("good", "bad"):
        folders = {path.name for path in (contracts / "examples" / verdict).iterdir() if any(path.glob("*.json"))}
        found += [f"{verdict}: {name}" for name in sorted(folders ^ set(event_types(contracts)))]
    examples = {path.with_suffix("") for path in contracts.glob("examples/bad/*/*.json")}
    labels = {path.with_suffix("").with_suffix("") for path in contracts.glob("examples/bad/*/*.expect.yaml")}
    return found + sorted(f"{path.name}: example or label missing" for path in examples ^ labels)


def types_unknown_to_code(contracts: Path) -> list[str]:
    """What is promised here is in the code; see also `types_unknown_to_contracts`."""
    return sorted(set(event_types(contracts)) - set(types_in_code(ROOT)))


def types_unknown_to_contracts(root: Path) -> list[str]:
    known = event_types(CONTRACTS)
    return sorted(f"{path}: {name}" for name, path in types_in_code(root).items() if name not in known)


def types_in_code(root: Path) -> dict[str, Path]:
    found = {}
    for path in [*root.glob("libs/*/src/**/*.py"), *root.glob("services/*/src/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and EVENT_TYPE.fullmatch(node.value):
                found[node.value] = path.relative_to(root)
    return found


def wrong_examples(contracts: Path) -> list[str]:
    """Every example gets the verdict it is labelled with, from its schema and from the code that reads it."""
    known = schemas(contracts)
    found = []
    for path in sorted(contracts.glob("examples/*/*/*.json")):
        label = expected(path) if path.parts[-3] == "bad" else {}
        verdict = {
            "schema": refused_by_schema(known[path.parent.name], path.read_bytes()),
            "accept": refused_by_code(path.parent.name, path.read_bytes(), label.get("key")),
        }
        wanted = {"schema": label.get("schema"), "accept": label.get("accept")}
        if verdict != wanted or (label and not any(wanted.values())):
            found.append(f"{path.relative_to(contracts)}: {verdict}, labelled {wanted}")
    return found


def expected(example: Path) -> dict[str, str]:
    label: dict[str, str] = yaml.safe_load(example.with_suffix(".expect.yaml").read_text())
    if not set(label) <= {"why", "schema", "accept", "key"} or "why" not in label:
        raise ValueError(f"{example.name}: unknown label {label}")
    return label


def refused_by_schema(schema: dict[str, Any], data: bytes) -> str | None:
    """Return `/where keyword` of the first error. None: it is valid, or not JSON at all."""
    try:
        event = json.loads(data)
    except json.JSONDecodeError:
        return None
    validator = Draft202012Validator(schema, format_checker=FormatChecker())
    errors: list[ValidationError] = sorted(validator.iter_errors(event), key=lambda error: error.json_path)
    if not errors:
        return None
    return f"/{'/'.join(map(str, errors[0].absolute_path))} {errors[0].validator}"


def refused_by_code(event_type: str, data: bytes, key: str | None) -> str | None:
    """Return the reason the programme refuses it for. None: accepted, or of no concern to the programme."""
    record_key = key or own_member(data)
    try:
        if event_type in (PURCHASE_COMPLETED, PURCHASE_RETURNED):
            accept(event_type, data, record_key.encode(), RECEIVED_US)
        elif event_type == CUSTOMER_STATUS_CHANGED:
            decode_timeline(data, record_key.encode())
    except Refused as refused:
        return refused.reason
    return None


def own_member(data: bytes) -> str:
    found = re.search(rb'"member_id": "(([^"\\]|\\.)*)"', data)
    return json.loads(b'"' + found[1] + b'"') if found else ""


GUARDS: list[Guard] = [
    stray_files,
    badly_described_topics,
    differing_partitions,
    purchases_that_do_not_fit,
    unpaired_schemas,
    unsound_schemas,
    differing_definitions,
    missing_examples,
    types_unknown_to_code,
    wrong_examples,
]


@pytest.mark.parametrize("guard", GUARDS)
def test_contracts_hold_together(guard: Guard) -> None:
    assert guard(CONTRACTS) == []


def test_code_publishes_and_reads_nothing_else() -> None:
    assert types_unknown_to_contracts(ROOT) == []


def test_an_event_type_in_code_alone_is_seen(tmp_path: Path) -> None:
    source = tmp_path / "services/a/src/a/events.py"
    source.parent.mkdir(parents=True)
    source.write_text('POINTS_LOST = "kundenclub.points.lost.v1"\n')
    assert types_unknown_to_contracts(tmp_path) == ["services/a/src/a/events.py: kundenclub.points.lost.v1"]


PURCHASES = "topics/kundenclub.purchases.yaml"
PURCHASE = "schemas/kundenclub.purchase.completed.v1.schema.json"
JOINED = "schemas/kundenclub.member.joined.v1.schema.json"
BAD = "examples/bad/kundenclub.purchase.completed.v1"

# (guard, file, text in it, what stands there instead); without a text the file is made, without either it is deleted.
BREAKS: list[tuple[Guard, str, str | None, str | None]] = [
    (stray_files, "schemas/notes.txt", None, "x"),
    (badly_described_topics, PURCHASES, "topic: kundenclub.purchases", "topic: kundenclub.purchase"),
    (badly_described_topics, PURCHASES, "partitions: 12", "partitions: twelve"),
    (badly_described_topics, PURCHASES, "writers: [pos, webshop]\n", ""),
    (badly_described_topics, PURCHASES, 'retention.ms: "-1"', "retention.ms: -1"),
    (differing_partitions, PURCHASES, "partitions: 12", "partitions: 6"),
    (purchases_that_do_not_fit, PURCHASES, "max.message.bytes: ", "max.message.bytes: 1048588 # "),
    (unpaired_schemas, JOINED, None, None),
    (unpaired_schemas, "schemas/kundenclub.member.left.v1.schema.json", None, "{}"),
    (unpaired_schemas, PURCHASES, "purchase.returned.v1.schema.json", "member.joined.v1.schema.json"),
    (unsound_schemas, PURCHASE, '"maxItems"', '"maxItem"'),
    (unsound_schemas, PURCHASE, '"type": "object"', '"type": "objekt"'),
    (unsound_schemas, PURCHASE, '"amount_cents"\n', '"amount_cent"\n'),
    (unsound_schemas, PURCHASE, "urn:kundenclub:purchase", "urn:kundenclub:purchases"),
    (unsound_schemas, PURCHASE, '"voucher_id": {', '"voucher": {'),
    (differing_definitions, JOINED, "{1,40}", "{1,50}"),
    (missing_examples, "examples/good/kundenclub.member.joined.v1/joined.json", None, None),
    (missing_examples, f"{BAD}/dollars.expect.yaml", None, None),
    (missing_examples, f"{BAD}/dollars.json", None, None),
    (missing_examples, "examples/good/kundenclub.member.left.v1/left.json", None, "{}"),
    (types_unknown_to_code, PURCHASES, "completed", "considered"),
    (wrong_examples, PURCHASE, '"const": "EUR"', '"const": "USD"'),
    (wrong_examples, f"{BAD}/dollars.json", "USD", "EUR"),
    (wrong_examples, f"{BAD}/dollars.expect.yaml", "unsupported_currency", "invalid_currency"),
    (wrong_examples, f"{BAD}/key-of-another-member.expect.yaml", "key: M2", "key: M1"),
]


@pytest.mark.parametrize(("guard", "name", "text", "instead"), BREAKS)
def test_every_guard_bites(guard: Guard, name: str, text: str | None, instead: str | None, tmp_path: Path) -> None:
    contracts = tmp_path / "contracts"
    shutil.copytree(CONTRACTS, contracts, ignore=shutil.ignore_patterns("__pycache__"))
    path = contracts / name
    if instead is None:
        path.unlink()
    elif text is None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(instead)
    else:
        assert text in path.read_text()
        path.write_text(path.read_text().replace(text, instead))
    assert guard(contracts)


def test_every_guard_has_a_broken_copy() -> None:
    assert {guard for guard, *_ in BREAKS} == set(GUARDS)


def test_conformance_cases_are_made_of_valid_events() -> None:
    lines = (CONTRACTS / "conformance" / "cases.jsonl").read_bytes().splitlines()
    cases = [json.loads(line) for line in lines]
    known = schemas(CONTRACTS)
    for case in cases:
        for event in case["events"]:
            data = json.dumps(event["data"]).encode()
            assert refused_by_schema(known[event["type"]], data) is None, case["case"]
            assert refused_by_code(event["type"], data, None) is None, case["case"]
    assert len({case["case"] for case in cases}) == len(cases) == 40
