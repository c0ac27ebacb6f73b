"""Whether what a service publishes is what contracts/ promises."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jsonschema_rs
import yaml
from eventing.records import Message, Record

CONTRACTS = Path(__file__).resolve().parents[2]
SERVICES = {"loyalty", "customer-status"}


class Contract:
    """Judges messages, and remembers of which event types it has seen one."""

    def __init__(self, contracts: Path = CONTRACTS) -> None:
        topics = [yaml.safe_load(path.read_text()) for path in sorted(contracts.glob("topics/*.yaml"))]
        self._topics = {topic["topic"]: topic for topic in topics}
        self._schemas = {
            event["type"]: jsonschema_rs.Draft202012Validator(
                json.loads((contracts / event["schema"]).read_text()), validate_formats=True
            )
            for topic in topics
            for event in topic["events"]
        }
        self.seen: set[str] = set()
        self.complaints: list[str] = []

    def watch(self, messages: Iterable[Message | Record]) -> None:
        """Judge messages; `complaints` grows by those that break the contract."""
        for message in messages:
            if complaint := self.complaint(message):
                self.complaints.append(complaint)

    def complaint(self, message: Message | Record) -> str | None:
        """What is wrong with a message; None: nothing."""
        topic = self._topics.get(message.topic)
        if topic is None:
            return f"{message.topic}: no such topic"
        if message.value is None:
            is_compacted = "compact" in topic["config"]["cleanup.policy"]
            return None if is_compacted else f"{message.topic}: a record without a value on a topic that keeps all"
        headers = {name: (value or b"").decode() for name, value in message.headers}
        name = headers.get("ce_type", "")
        if name not in {event["type"] for event in topic["events"]}:
            return f"{message.topic}: carries no {name or 'nameless event'}"
        if wrong := _wrong_headers(headers, (message.key or b"").decode()):
            return f"{name}: {wrong}"
        data = json.loads(message.value)
        for error in self._schemas[name].iter_errors(data):
            return f"{name}: /{'/'.join(map(str, error.instance_path))} {error.message[:300]}"
        if data[topic["key"]] != headers["ce_partitionkey"]:
            return f"{name}: the key is not its {topic['key']}"
        self.seen.add(name)
        return None

    def own_types(self) -> set[str]:
        """The event types that our services write."""
        own = [topic for topic in self._topics.values() if set(topic["writers"]) <= SERVICES]
        return {event["type"] for topic in own for event in topic["events"]}


def _wrong_headers(headers: dict[str, Any], key: str) -> str | None:
    wanted = {"ce_specversion": "1.0", "content-type": "application/json", "ce_partitionkey": key}
    for name, value in wanted.items():
        if headers.get(name) != value:
            return f"{name} is {headers.get(name)!r}, not {value!r}"
    for name in ("ce_id", "ce_source", "ce_time"):
        if not headers.get(name):
            return f"no {name}"
    return None
