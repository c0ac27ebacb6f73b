"""The Kafka process, put together: what it reads, and where its own events go (eventing's relay)."""

from collections.abc import Sequence
from pathlib import Path

from eventing.kafka import KafkaConfig
from eventing.topics import TopicSpec, load_topics
from eventing.worker import WorkerConfig, main
from programme.terms import Programme

from loyalty.events import LOYALTY_TOPIC, MEMBERS_TOPIC
from loyalty.settings import WorkerSettings
from loyalty.subscriptions import CUSTOMER_STATUS, PURCHASES, subscriptions

SERVICE = "loyalty"
TOPICS = (PURCHASES, CUSTOMER_STATUS, LOYALTY_TOPIC, MEMBERS_TOPIC)


def topics_of(contracts: Path, names: Sequence[str] = TOPICS) -> list[TopicSpec]:
    """The contracts of the topics this service reads and writes."""
    return [spec for spec in load_topics(contracts / "topics") if spec.topic in names]


def run(settings: WorkerSettings, kafka: KafkaConfig, contracts: Path, programme: Programme) -> None:
    """Work until told to stop. Exits with 1 and one clear line where only an operator can help."""
    config = WorkerConfig(
        service=SERVICE,
        database_url=settings.database_url,
        kafka=kafka,
        topics=topics_of(contracts),
        metrics_port=settings.worker_metrics_port,
        metrics_host=settings.worker_metrics_host,
    )
    main(config, subscriptions(programme))
