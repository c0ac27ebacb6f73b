"""The topic contracts as this command line needs them: which topic carries which type of event."""

from collections.abc import Mapping
from pathlib import Path

import msgspec
from eventing.topics import TopicSpec, load_topics

from kundenclub.errors import Explained

PURCHASES = "kundenclub.purchases"
MEMBERS = "kundenclub.members"
CUSTOMER_STATUS = "kundenclub.customer-status"
LOYALTY = "kundenclub.loyalty"


class ContractsMissing(Explained):
    """The folder of contracts is not there or cannot be read; the text says which file and why."""


class _EventContract(msgspec.Struct):
    type: str


class _TopicContract(msgspec.Struct):
    topic: str
    events: list[_EventContract] = []


def read_topics(folder: Path) -> tuple[TopicSpec, ...]:
    """The topics of the contracts in `folder`. Raises ContractsMissing."""
    try:
        specs = load_topics(folder / "topics")
    except (OSError, msgspec.MsgspecError) as error:
        raise ContractsMissing(f"{folder / 'topics'}: {error}") from None
    if not specs:
        raise ContractsMissing(f"{folder / 'topics'}: no topic files; CONTRACTS_DIR names the folder of contracts")
    return specs


def read_topic_by_type(folder: Path) -> Mapping[str, str]:
    """The topic of each type of event. Raises ContractsMissing."""
    read_topics(folder)
    contracts = [
        msgspec.yaml.decode(path.read_bytes(), type=_TopicContract) for path in (folder / "topics").glob("*.yaml")
    ]
    return {event.type: contract.topic for contract in contracts for event in contract.events}
