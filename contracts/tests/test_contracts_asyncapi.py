"""The AsyncAPI document is that of topics and schemas, and valid by AsyncAPI's own schema; the guards bite."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from contract_files import asyncapi
from jsonschema import Draft7Validator

CONTRACTS = Path(__file__).resolve().parents[1]
SCHEMA = json.loads((Path(__file__).parent / "asyncapi/schema-3.0.0.json").read_text())

Document = dict[str, Any]


@pytest.fixture(scope="module")
def committed() -> Document:
    document: Document = yaml.safe_load((CONTRACTS / "asyncapi.yaml").read_text())
    return document


def invalid(document: Document) -> list[str]:
    return [f"{error.json_path}: {error.message[:200]}" for error in Draft7Validator(SCHEMA).iter_errors(document)]


def dangling(document: Document) -> list[str]:
    return [reference for reference in references(document) if not is_there(document, reference)]


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        node = list(node.values())
    for child in node if isinstance(node, list) else []:
        yield from references(child)


def is_there(document: Document, reference: str) -> bool:
    if not reference.startswith("#/"):
        return (CONTRACTS / reference).is_file()
    node: Any = document
    for step in reference.removeprefix("#/").split("/"):
        node = node.get(step, {})
    return bool(node)


def poor_messages(document: Document) -> list[str]:
    """Every message says what it is and shows one."""
    messages = document["components"]["messages"].items()
    return [name for name, each in messages if not (each["title"] and len(each["summary"]) > 30 and each["examples"])]


def test_it_is_that_of_topics_and_schemas() -> None:
    for path, text in asyncapi.files().items():
        assert path.read_text() == text, "run `make contracts`"


@pytest.mark.parametrize("guard", [invalid, dangling, poor_messages])
def test_it_is_sound(guard: Callable[[Document], list[str]], committed: Document) -> None:
    assert guard(committed) == []


def test_every_topic_is_received_or_sent(committed: Document) -> None:
    actions = {each["channel"]["$ref"]: each["action"] for each in committed["operations"].values()}
    assert set(actions) == {f"#/channels/{path.stem}" for path in (CONTRACTS / "topics").glob("*.yaml")}
    assert [channel for channel, action in actions.items() if action == "receive"] == [
        "#/channels/kundenclub.purchases"
    ]


PURCHASES = ("channels", "kundenclub.purchases")
POSTED = ("components", "messages", "kundenclub.points.posted.v1")


@pytest.mark.parametrize(
    ("guard", "where", "instead"),
    [
        (invalid, ("info", "title"), None),
        (invalid, (*PURCHASES, "bindings", "kafka", "partitions"), "twelve"),
        (invalid, (*PURCHASES, "adress"), "kundenclub.purchases"),
        (invalid, ("operations", "receivePurchases", "action"), "take"),
        (dangling, POSTED, None),
        (dangling, (*POSTED, "payload", "schema", "$ref"), "./schemas/kundenclub.points.lost.v1.schema.json"),
        (poor_messages, (*POSTED, "examples"), []),
    ],
)
def test_every_guard_bites(guard: Any, where: tuple[str, ...], instead: Any, committed: Document) -> None:
    broken = copy.deepcopy(committed)
    place = broken
    for step in where[:-1]:
        place = place[step]
    if instead is None:
        del place[where[-1]]
    else:
        place[where[-1]] = instead
    assert guard(broken)
