"""Settings from the environment (or a .env file), with one clear line for each that is missing or wrong."""

import sys
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from eventing.forgotten import Secret
from eventing.kafka import KafkaConfig

S = TypeVar("S", bound=BaseSettings)


class Settings(BaseSettings):
    """Base of all settings: names in upper case in the environment or in `.env`, other names left alone."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore")


class KafkaSettings(Settings):
    """`KAFKA_BOOTSTRAP_SERVERS` and, for a secured broker, the other `KAFKA_` names."""

    model_config = SettingsConfigDict(env_prefix="KAFKA_")

    bootstrap_servers: str = Field(min_length=1)
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    sasl_username: str | None = None
    sasl_password: SecretStr | None = None
    ca_file: Path | None = None
    session_timeout_ms: int = Field(default=10_000, ge=1_000, le=300_000)

    def config(self) -> KafkaConfig:
        """The same as the plain value the library takes."""
        password = self.sasl_password.get_secret_value() if self.sasl_password else None
        return KafkaConfig(**(self.model_dump() | {"sasl_password": password}))


class ContractsSettings(Settings):
    """`CONTRACTS_DIR`: the folder with the contracts, seen from the working directory."""

    model_config = SettingsConfigDict(env_prefix="CONTRACTS_")

    dir: Path = Path("contracts")


def secret_of(text: SecretStr) -> Secret:
    """The secret of `eventing.forgotten`, as a validator and a reader. Raises ValueError."""
    return Secret.parse(text.get_secret_value())


class LogSettings(Settings):
    """`LOG_FORMAT` (json or console) and `LOG_LEVEL`."""

    model_config = SettingsConfigDict(env_prefix="LOG_")

    format: Literal["json", "console"] = "json"
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"


def load_settings(cls: type[S]) -> S:
    """`cls` from the environment; prints one line a missing or wrong variable and exits with 2 if there is any."""
    try:
        return cls()
    except ValidationError as error:
        for problem in error.errors():
            print(_line(cls, problem), file=sys.stderr)
        raise SystemExit(2) from None


def _line(cls: type[BaseSettings], problem: Any) -> str:
    field = str(problem["loc"][0]) if problem["loc"] else ""
    declared = cls.model_fields.get(field)
    alias = declared.validation_alias if declared and isinstance(declared.validation_alias, str) else None
    name = (alias or cls.model_config.get("env_prefix", "") + field).upper()
    told = "not set" if problem["type"] == "missing" else problem["msg"].removeprefix("Value error, ")
    return f"{name if field else name + '*'}: {told}"
