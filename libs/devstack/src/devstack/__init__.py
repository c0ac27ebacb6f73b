"""An embedded PostgreSQL and a real Kafka broker, from Python packages alone."""

from devstack.databases import Cluster, ExternalCluster, ServiceDatabase, create_service_database
from devstack.errors import DevstackError
from devstack.kafka_broker import KafkaBroker, kafka
from devstack.launch import launch_command
from devstack.postgres_server import PostgresServer, postgres

__all__ = [
    "Cluster",
    "DevstackError",
    "ExternalCluster",
    "KafkaBroker",
    "PostgresServer",
    "ServiceDatabase",
    "create_service_database",
    "kafka",
    "launch_command",
    "postgres",
]
