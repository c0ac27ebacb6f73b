"""A migrated database of its own for each test, the programme as the repository ships it, and events to feed."""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest
from customer_status.events import MEMBER_ERASED, MEMBER_JOINED, MEMBERS_TOPIC, PURCHASES_TOPIC
from customer_status.migrate import upgrade
from customer_status.subscriptions import subscriptions
from devstack import ServiceDatabase
from eventing.batches import judge
from eventing.database import connect
from eventing.dead_letters import Refusal
from eventing.envelope import new_message
from eventing.failures import StartOver
from eventing.forgotten import Secret
from eventing.outbox import unpack
from eventing.records import Message, Record
from eventing.subscription import Decoded
from eventing.transaction import Transaction
from programme.facts import PURCHASE_COMPLETED, PURCHASE_RETURNED, Purchase, Return, accept
from programme.instants import parse_instant
from programme.terms import Programme, load_programme

SECRET = Secret.parse("ee" * 32)
REPOSITORY = Path(__file__).parents[3]


def migrate(database: ServiceDatabase) -> None:
    upgrade(database.owner_url, database.app_url)


@pytest.fixture
def database(service_database: Callable[..., ServiceDatabase]) -> ServiceDatabase:
    return service_database("customer-status", prepare=migrate)


@pytest.fixture
async def conn(database: ServiceDatabase) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(database.app_url, application_name="tests", posting=True)
    yield connection
    await connection.close()


@pytest.fixture(scope="session")
def contracts() -> Path:
    return REPOSITORY / "contracts"


@pytest.fixture(scope="session")
def programme(contracts: Path) -> Programme:
    return load_programme(contracts / "programme.toml")


class Feed:
    """Hands batches of records to the service's real handlers, each batch in one transaction, as the worker does."""

    def __init__(self, conn: asyncpg.Connection, programme: Programme) -> None:
        self.conn = conn
        self.subscriptions = {each.topic: each for each in subscriptions(programme, SECRET)}
        self.offset = 0

    def record(self, event_type: str, data: dict[str, Any], received: str = "2026-11-22T00:00:00Z") -> Record:
        """A record of the next offset; its key is the member_id."""
        topic = MEMBERS_TOPIC if event_type in (MEMBER_JOINED, MEMBER_ERASED) else PURCHASES_TOPIC
        member_id = data["member_id"] or ""
        message = new_message(topic, type=event_type, source="urn:test", key=member_id, data=msgspec.json.encode(data))
        self.offset += 1
        received_us = parse_instant(received)
        return Record(topic, 0, self.offset, received_us, message.key, message.value, message.headers)

    async def __call__(self, *records: Record) -> list[Message]:
        """One batch of one topic; returns what it published."""
        try:
            await self._apply(records)
        except StartOver:
            await self._apply(records, starts_over=True)
        rows = await self.conn.fetch("DELETE FROM outbox RETURNING messages")
        return [message for row in rows for message in unpack(row["messages"])]

    async def _apply(self, records: Sequence[Record], *, starts_over: bool = False) -> None:
        subscription = self.subscriptions[records[0].topic]
        async with self.conn.transaction():
            transaction = Transaction(self.conn, starts_over=starts_over)
            judged = [judge(subscription, record).judged for record in records]
            for each in judged:
                if isinstance(each, Refusal):
                    transaction.refuse(each)
            if decoded := [each for each in judged if isinstance(each, Decoded)]:
                await subscription.apply(transaction, decoded)
            await transaction.flush()

    async def bought(
        self, member_id: str, purchase_id: str, occurred_at: str, cents: int, **extra: Any
    ) -> list[Message]:
        """One purchase of goods in a batch of its own."""
        return await self(self.purchase(member_id, purchase_id, occurred_at, cents, **extra))

    async def returned(self, member_id: str, return_id: str, occurred_at: str, **extra: Any) -> list[Message]:
        """One return in a batch of its own."""
        return await self(self.return_(member_id, return_id, occurred_at, **extra))

    def purchase(self, member_id: str, purchase_id: str, occurred_at: str, cents: int, **extra: Any) -> Record:
        data = {
            "purchase_id": purchase_id,
            "member_id": member_id,
            "occurred_at": occurred_at,
            "currency": "EUR",
            "lines": [{"product_class": "goods", "amount_cents": cents}],
        }
        return self.record(PURCHASE_COMPLETED, data | extra)

    def return_(
        self, member_id: str, return_id: str, occurred_at: str, *, of: str, cents: int = 0, **extra: Any
    ) -> Record:
        data = {
            "return_id": return_id,
            "purchase_id": of,
            "member_id": member_id,
            "occurred_at": occurred_at,
            "lines": [{"product_class": "goods", "amount_cents": cents}],
        }
        return self.record(PURCHASE_RETURNED, data | extra)

    def joined(self, member_id: str, joined_at: str) -> Record:
        return self.record(MEMBER_JOINED, {"member_id": member_id, "joined_at": joined_at})

    def erased(self, member_id: str, erased_at: str = "2026-11-22T00:00:00Z") -> Record:
        return self.record(MEMBER_ERASED, {"member_id": member_id, "erased_at": erased_at})


@pytest.fixture
def feed(conn: asyncpg.Connection, programme: Programme) -> Feed:
    return Feed(conn, programme)


@pytest.fixture(scope="session")
def facts_of() -> Callable[[Iterable[Record]], list[Purchase | Return]]:
    """The purchases and returns among records, as the rules accept them, without any of this service's code."""

    def facts_of(records: Iterable[Record]) -> list[Purchase | Return]:
        shopping = [record for record in records if record.topic == PURCHASES_TOPIC]
        types = [(dict(record.headers)["ce_type"] or b"").decode() for record in shopping]
        facts = [
            accept(event_type, record.value or b"", record.key, record.timestamp_us)
            for event_type, record in zip(types, shopping, strict=True)
        ]
        return [fact for fact in facts if fact is not None]

    return facts_of
