"""The Kafka process, put together: what it reads, and where its own events go (eventing's relay)."""

from collections.abc import Sequence
from pathlib import Path

from eventing.kafka import KafkaConfig
from eventing.topics import TopicSpec, load_topics
from eventing.worker import WorkerConfig, main
from programme.terms import Programme

from customer_status.events import CUSTOMER_STATUS_TOPIC, MEMBERS_TOPIC, PURCHASES_TOPIC
from customer_status.settings import WorkerSettings
from customer_status.subscriptions import subscriptions

SERVICE = "customer-status"
TOPICS = (PURCHASES_TOPIC, MEMBERS_TOPIC, CUSTOMER_STATUS_TOPIC)


def topics_of(contracts: Path, names: Sequence[str] = TOPICS) -> list[TopicSpec]:
    """The contracts of the topics this service reads and writes."""
    return [spec for spec in load_topics(contracts / "topics") if spec.topic in names]


def config_of(settings: WorkerSettings, kafka: KafkaConfig, contracts: Path) -> WorkerConfig:
    """The worker of these settings."""
    return WorkerConfig(
        service=SERVICE,
        database_url=settings.database_url,
        kafka=kafka,
        topics=topics_of(contracts),
        metrics_port=settings.worker_metrics_port,
        metrics_host=settings.worker_metrics_host,
    )


def run(settings: WorkerSettings, kafka: KafkaConfig, contracts: Path, programme: Programme) -> None:
    """Work until told to stop. Exits with 1 and one clear line where only an operator can help."""
    main(config_of(settings, kafka, contracts), subscriptions(programme))
