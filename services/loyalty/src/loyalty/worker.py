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

from loyalty.audit.sample import check_some
from loyalty.events import LOYALTY_TOPIC, MEMBERS_TOPIC
from loyalty.notices.job import NoticeJob
from loyalty.points.expiry_job import ExpiryJob
from loyalty.settings import WorkerSettings
from loyalty.subscriptions import CUSTOMER_STATUS, PURCHASES, subscriptions
from loyalty.terms import service as terms

SERVICE = "loyalty"
TOPICS = (PURCHASES, CUSTOMER_STATUS, LOYALTY_TOPIC, MEMBERS_TOPIC)


def topics_of(contracts: Path, names: Sequence[str] = TOPICS) -> list[TopicSpec]:
    """The contracts of the topics this service reads and writes."""
    return [spec for spec in load_topics(contracts / "topics") if spec.topic in names]


def run(settings: WorkerSettings, kafka: KafkaConfig, contracts: Path, programme: Programme) -> None:
    """Work until told to stop. Exits with 1 and one clear line where only an operator can help."""
    secret = settings.secret()

    async def adopt(conn: Connection) -> None:
        await terms.adopt(conn, programme)
        await forgotten.adopt(conn, secret)

    config = WorkerConfig(
        service=SERVICE,
        database_url=settings.database_url,
        kafka=kafka,
        topics=topics_of(contracts),
        metrics_port=settings.worker_metrics_port,
        metrics_host=settings.worker_metrics_host,
        at_start=adopt,
        parts=_parts(settings, programme),
    )
    main(config, subscriptions(programme, secret))


def _parts(settings: WorkerSettings, programme: Programme) -> list[Part]:
    """What runs beside the events: posting what expires, telling what ends, and verifying samples."""
    parts: list[Part] = [ExpiryJob(settings.database_url).run, NoticeJob(settings.database_url, programme).run]
    if settings.worker_verify_every_s:
        sample = partial(check_some, programme=programme)
        parts.append(Sampler(SERVICE, settings.database_url, sample, settings.worker_verify_every_s).run)
    return parts
