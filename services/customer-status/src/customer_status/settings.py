"""What the processes must be told, all of it by environment variables (docs/operations.md)."""

from typing import Annotated

from eventing.forgotten import Secret
from eventing.settings import Settings, secret_of
from pydantic import Field, SecretStr, field_validator
from pydantic_settings import SettingsConfigDict
from webapi.settings import SafetySettings

DatabaseUrl = Annotated[str, Field(pattern=r"^postgresql://")]
Port = Annotated[int, Field(ge=0, le=65535)]


class CustomerStatusSettings(Settings):
    """Variables that begin with `CUSTOMER_STATUS_`; the database as the application role sees it."""

    model_config = SettingsConfigDict(env_prefix="CUSTOMER_STATUS_")

    database_url: DatabaseUrl


class MigrationSettings(CustomerStatusSettings):
    """The owner's connection, for `customer-status migrate` only."""

    migrations_database_url: DatabaseUrl


class ErasureSettings(CustomerStatusSettings):
    """`CUSTOMER_STATUS_ERASURE_KEY`, 64 hex digits: tells who was erased, so it stays the same for ever."""

    erasure_key: SecretStr

    @field_validator("erasure_key")
    @classmethod
    def _must_be_secret(cls, key: SecretStr) -> SecretStr:
        secret_of(key)
        return key

    def secret(self) -> Secret:
        """What erased members are known by."""
        return secret_of(self.erasure_key)


class WorkerSettings(ErasureSettings):
    """The Kafka process. Every `worker_verify_every_s` seconds it verifies a few accounts, every
    `worker_contacts_every_s` it looks for contacts that are due; 0: never.
    """

    worker_metrics_host: str = "127.0.0.1"
    worker_metrics_port: Port = 9104
    worker_verify_every_s: float = Field(default=5.0, ge=0)
    worker_contacts_every_s: float = Field(default=30.0, ge=0)


class ApiSettings(SafetySettings, CustomerStatusSettings):
    """The HTTP process."""

    http_host: str = "127.0.0.1"
    http_port: Port = 8002
    metrics_port: Port = 9103
