"""The Kafka process, put together: what it reads, and where its own events go (eventing's relay)."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from eventing import forgotten
from eventing.database import Connection
from eventing.kafka import KafkaConfig
from eventing.sampling import Sampler
from eventing.topics import TopicSpec, load_topics
from eventing.worker import Part, WorkerConfig, main
from programme.terms import Programme

from customer_status.audit.sample import check_some
from customer_status.contacts.job import ContactJob
from customer_status.events import (
    CONTACTS_TOPIC,
    CUSTOMER_STATUS_TOPIC,
    LOYALTY_TOPIC,
    MEMBERS_TOPIC,
    PURCHASES_TOPIC,
)
from customer_status.settings import WorkerSettings
from customer_status.subscriptions import all_subscriptions
from customer_status.terms import service as terms

SERVICE = "customer-status"
TOPICS = (PURCHASES_TOPIC, MEMBERS_TOPIC, CUSTOMER_STATUS_TOPIC, LOYALTY_TOPIC, CONTACTS_TOPIC)


def topics_of(contracts: Path, names: Sequence[str] = TOPICS) -> list[TopicSpec]:
    """The contracts of the topics this service reads and writes."""
    return [spec for spec in load_topics(contracts / "topics") if spec.topic in names]


def config_of(settings: WorkerSettings, kafka: KafkaConfig, contracts: Path, programme: Programme) -> WorkerConfig:
    """The worker of these settings."""
    secret = settings.secret()

    async def adopt(conn: Connection) -> None:
        await terms.adopt(conn, programme)
        await forgotten.adopt(conn, secret)

    return WorkerConfig(
        service=SERVICE,
        database_url=settings.database_url,
        kafka=kafka,
        topics=topics_of(contracts),
        metrics_port=settings.worker_metrics_port,
        metrics_host=settings.worker_metrics_host,
        at_start=adopt,
        parts=_parts(settings, programme),
    )


def run(settings: WorkerSettings, kafka: KafkaConfig, contracts: Path, programme: Programme) -> None:
    """Work until told to stop. Exits with 1 and one clear line where only an operator can help."""
    main(config_of(settings, kafka, contracts, programme), all_subscriptions(programme, settings.secret()))


def _parts(settings: WorkerSettings, programme: Programme) -> list[Part]:
    """What runs beside the events: recommending contacts, and verifying samples."""
    parts: list[Part] = []
    if settings.worker_contacts_every_s:
        parts.append(ContactJob(settings.database_url, programme, settings.worker_contacts_every_s).run)
    if settings.worker_verify_every_s:
        sample = partial(check_some, programme=programme)
        parts.append(Sampler(SERVICE, settings.database_url, sample, settings.worker_verify_every_s).run)
    return parts
