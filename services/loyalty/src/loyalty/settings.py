"""What the processes must be told, all of it by environment variables (docs/operations.md)."""

from eventing.forgotten import Secret
from eventing.settings import Settings, secret_of
from pydantic import Field, SecretStr, field_validator
from pydantic_settings import SettingsConfigDict
from webapi.settings import SafetySettings

from loyalty.vouchers.codes import VoucherKeys, parse_keys


class LoyaltySettings(Settings):
    """Variables that begin with `LOYALTY_`."""

    model_config = SettingsConfigDict(env_prefix="LOYALTY_")

    database_url: str = Field(pattern=r"^postgresql://")


class MigrationSettings(LoyaltySettings):
    """The owner's connection, for `loyalty migrate` only."""

    migrations_database_url: str = Field(pattern=r"^postgresql://")


class ErasureSettings(LoyaltySettings):
    """`LOYALTY_ERASURE_KEY`, 64 hex digits: tells who was erased, so it stays the same for ever."""

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
    """The Kafka process. It verifies a few accounts every `worker_verify_every_s` seconds; 0: never."""

    worker_metrics_host: str = "127.0.0.1"
    worker_metrics_port: int = Field(default=9102, ge=0, le=65535)
    worker_verify_every_s: float = Field(default=5.0, ge=0)


class ApiSettings(SafetySettings, ErasureSettings):
    """The HTTP process. `LOYALTY_VOUCHER_KEYS` is `version:64-hex-digits`, several of them with commas between."""

    http_host: str = "127.0.0.1"
    http_port: int = Field(default=8001, ge=0, le=65535)
    metrics_port: int = Field(default=9101, ge=0, le=65535)
    voucher_keys: SecretStr

    @field_validator("voucher_keys")
    @classmethod
    def _must_be_keys(cls, keys: SecretStr) -> SecretStr:
        parse_keys(keys.get_secret_value())
        return keys

    def keys(self) -> VoucherKeys:
        """The voucher keys by version."""
        return parse_keys(self.voucher_keys.get_secret_value())
