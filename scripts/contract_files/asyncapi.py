"""contracts/asyncapi.yaml: the topics and events of contracts/, as AsyncAPI 3 says it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
CONTRACTS = ROOT / "contracts"

SERVICES = ("loyalty", "customer-status")
KAFKA_BINDING = "0.5.0"
JSON_SCHEMA = "application/schema+json;version=draft-2020-12"
MOST_EXAMPLES = 4
LONGEST_EXAMPLE = 2_500
"""Examples of limits, as of 20 vouchers, are for tests; here they would only be long."""

INTRODUCTION = """\
What tills and the webshop publish, and what the services tell. Every message is a CloudEvent 1.0 in binary
mode, its key is the member_id, its partition that of murmur2 over the key. Delivery is at least once:
consumers drop repeats and what is older than what they have, and ignore fields and types they do not know.
contracts/README.md says how to publish.
"""

Document = dict[str, Any]


def document() -> Document:
    """The document. Kunden-Club is the application: it receives purchases and sends everything else."""
    topics = [_topic(path) for path in sorted(CONTRACTS.glob("topics/*.yaml"))]
    events = [event for topic in topics for event in topic["events"]]
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Kunden-Club events", "version": "1", "description": " ".join(INTRODUCTION.split())},
        "defaultContentType": "application/json",
        "channels": {topic["topic"]: _channel(topic) for topic in topics},
        "operations": {_operation_id(topic): _operation(topic) for topic in topics},
        "components": {"messages": {event["type"]: _message(event) for event in events}},
    }


def files() -> dict[Path, str]:
    """The text of the document by its path."""
    text = yaml.safe_dump(document(), sort_keys=False, allow_unicode=True, width=120)
    return {CONTRACTS / "asyncapi.yaml": "# Written by `make contracts`.\n" + text}


def _topic(path: Path) -> Document:
    """The topic's file; its description is the comment it begins with."""
    text = path.read_text()
    comment = [line.lstrip("# ") for line in text.split("topic:", 1)[0].splitlines()]
    topic: Document = yaml.safe_load(text)
    return {**topic, "description": " ".join(comment)}


def _channel(topic: Document) -> Document:
    return {
        "address": topic["topic"],
        "description": f"{topic['description']} Written by: {', '.join(topic['writers'])}.",
        "messages": {event["type"]: {"$ref": f"#/components/messages/{event['type']}"} for event in topic["events"]},
        "bindings": {
            "kafka": {
                "topic": topic["topic"],
                "partitions": topic["partitions"],
                "topicConfiguration": _settings(topic["config"]),
                "bindingVersion": KAFKA_BINDING,
            }
        },
    }


def _settings(config: dict[str, str]) -> Document:
    """Kafka's settings with the types that the binding gives them."""
    settings: Document = {}
    for name, value in config.items():
        if name == "cleanup.policy":
            settings[name] = value.split(",")
        else:
            settings[name] = int(value) if value.lstrip("-").isdigit() else value
    return settings


def _operation_id(topic: Document) -> str:
    subject = topic["topic"].removeprefix("kundenclub.").title().replace("-", "")
    return f"{_action(topic)}{subject}"


def _action(topic: Document) -> str:
    return "send" if set(topic["writers"]) <= set(SERVICES) else "receive"


def _operation(topic: Document) -> Document:
    channel = f"#/channels/{topic['topic']}"
    return {
        "action": _action(topic),
        "channel": {"$ref": channel},
        "messages": [{"$ref": f"{channel}/messages/{event['type']}"} for event in topic["events"]],
    }


def _message(event: Document) -> Document:
    schema = json.loads((CONTRACTS / event["schema"]).read_text())
    return {
        "name": event["type"],
        "title": schema["title"],
        "summary": schema["description"],
        "contentType": "application/json",
        "headers": _headers(event["type"]),
        "payload": {"schemaFormat": JSON_SCHEMA, "schema": {"$ref": f"./{event['schema']}"}},
        "bindings": {
            "kafka": {
                "key": {"type": "string", "description": "The member_id, UTF-8"},
                "bindingVersion": KAFKA_BINDING,
            }
        },
        "examples": list(_examples(event["type"])),
    }


def _headers(event_type: str) -> Document:
    text = {"type": "string"}
    return {
        "type": "object",
        "required": ["ce_specversion", "ce_id", "ce_type", "ce_source", "content-type"],
        "properties": {
            "ce_specversion": text | {"const": "1.0"},
            "ce_id": text | {"description": "Unique for its ce_source"},
            "ce_type": text | {"const": event_type},
            "ce_source": text | {"description": "A URI of who published it"},
            "ce_time": text | {"format": "date-time"},
            "ce_partitionkey": text | {"description": "The member_id again"},
            "content-type": text | {"const": "application/json"},
        },
    }


def _examples(event_type: str) -> Iterator[Document]:
    paths = sorted((CONTRACTS / "examples/good" / event_type).glob("*.json"))
    short = [path for path in paths if len(path.read_bytes()) <= LONGEST_EXAMPLE]
    for path in short[:MOST_EXAMPLES]:
        yield {"name": path.stem, "payload": json.loads(path.read_text())}
