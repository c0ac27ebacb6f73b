"""Topics as data: what a topic must look like, created where missing, reported where different."""

import errno
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAlreadyExistsError, UnknownTopicOrPartitionError, for_code

from eventing.kafka import KafkaConfig, open_admin

TIMESTAMP_TYPE: Final = "message.timestamp.type"


class TopicSpec(msgspec.Struct, frozen=True):
    """The part of a topic's contract that the broker has to keep. Other keys of the file are documentation."""

    topic: str
    partitions: int
    config: dict[str, str] = {}


class Finding(NamedTuple):
    """A difference between a topic and its contract. One that `blocks` would make workers decide wrongly."""

    topic: str
    text: str
    blocks: bool

    def __str__(self) -> str:
        return f"{self.topic}: {self.text}"


def load_topics(folder: Path) -> tuple[TopicSpec, ...]:
    """All topic contracts (`*.yaml`) in `folder`, by file name.

    Raises FileNotFoundError if there is none, msgspec.ValidationError naming what is wrong with one.
    """
    files = sorted(folder.glob("*.yaml"))
    if not files:
        raise FileNotFoundError(errno.ENOENT, "holds no topic contracts (see CONTRACTS_DIR)", str(folder))
    return tuple(msgspec.yaml.decode(path.read_bytes(), type=TopicSpec) for path in files)


async def apply_topics(
    kafka: KafkaConfig, specs: Sequence[TopicSpec], *, replication_factor: int = -1
) -> tuple[list[str], list[Finding]]:
    """Creates the topics that are missing; returns their names and how the others differ. Changes no topic.

    `replication_factor` -1 takes the broker's default. Raises KafkaError if a topic cannot be created.
    """
    async with open_admin(kafka, "topics") as admin:
        existing = set(await admin.list_topics())
        missing = [spec for spec in specs if spec.topic not in existing]
        await _create(admin, missing, replication_factor)
        rest = [spec for spec in specs if spec.topic in existing]
        return [spec.topic for spec in missing], await _compare(admin, rest)


async def check_topics(kafka: KafkaConfig, specs: Sequence[TopicSpec]) -> list[Finding]:
    """How the topics differ from their contracts."""
    async with open_admin(kafka, "topics") as admin:
        return await _compare(admin, specs)


async def _create(admin: AIOKafkaAdminClient, specs: Sequence[TopicSpec], replication_factor: int) -> None:
    if not specs:
        return
    no_assignments: dict[int, list[int]] | None = {} if replication_factor == -1 else None  # or aiokafka refuses -1
    new = [NewTopic(s.topic, s.partitions, replication_factor, no_assignments, s.config) for s in specs]
    answer = await admin.create_topics(new)
    for topic, code, *message in answer.topic_errors:
        if code not in (0, TopicAlreadyExistsError.errno):
            raise for_code(code)(f"{topic}: {' '.join(map(str, message))}")


async def _compare(admin: AIOKafkaAdminClient, specs: Sequence[TopicSpec]) -> list[Finding]:
    if not specs:
        return []
    names = [spec.topic for spec in specs]
    described = {topic["topic"]: topic for topic in await admin.describe_topics(names)}
    findings: list[Finding] = []
    for spec in specs:
        topic = described[spec.topic]
        if topic["error_code"]:
            findings.append(Finding(spec.topic, _unavailable(topic["error_code"]), blocks=True))
            continue
        if len(topic["partitions"]) != spec.partitions:
            text = f"has {len(topic['partitions'])} partitions, its contract says {spec.partitions}"
            findings.append(Finding(spec.topic, text, blocks=False))
        findings += _compare_config(spec, await _describe_config(admin, spec))
    return findings


def _unavailable(code: int) -> str:
    if code == UnknownTopicOrPartitionError.errno:
        return "does not exist"
    return f"is not available ({for_code(code).__name__})"


async def _describe_config(admin: AIOKafkaAdminClient, spec: TopicSpec) -> Mapping[str, str] | None:
    resource = ConfigResource(ConfigResourceType.TOPIC, spec.topic, dict.fromkeys(spec.config))
    [answer] = await admin.describe_configs([resource])
    [(code, _message, _type, _name, entries)] = answer.resources
    return None if code else {entry[0]: entry[1] for entry in entries}


def _compare_config(spec: TopicSpec, actual: Mapping[str, str] | None) -> list[Finding]:
    if actual is None:
        return [Finding(spec.topic, "its settings may not be read, so they were not checked", blocks=False)]
    return [
        Finding(
            spec.topic,
            f"{name} is {actual.get(name)}, its contract says {wanted}",
            blocks=name == TIMESTAMP_TYPE,  # the wrong clock decides about events for ever
        )
        for name, wanted in spec.config.items()
        if actual.get(name) != wanted
    ]


if __name__ == "__main__":
    from eventing import cli

    cli.topics_app()
