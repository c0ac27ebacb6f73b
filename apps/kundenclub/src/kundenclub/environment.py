"""The environment of all processes: where everything is, and the secrets of a stack that only this machine sees."""

import os
import re
import secrets
import shlex
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from customer_status.scopes import SCOPES as CUSTOMER_STATUS_SCOPES
from devstack import ServiceDatabase
from devstack.ports import HOST, free_port
from loyalty.scopes import SCOPES as LOYALTY_SCOPES

from kundenclub.errors import Explained

API_KEY_NAME = "development"
API_KEY_SCOPES = {"loyalty": LOYALTY_SCOPES, "customer-status": CUSTOMER_STATUS_SCOPES}
_ASSIGNMENT = re.compile(r"^([A-Z_]+)=(.*)$", re.MULTILINE)


class PortsTaken(Explained):
    """Something else listens where the stack is to listen; the text says where."""


@dataclass(frozen=True)
class Ports:
    """Where everything listens, on 127.0.0.1. None: the server looks for a free one itself."""

    postgres: int | None
    kafka: int | None
    loyalty: int
    loyalty_metrics: int
    loyalty_worker: int
    customer_status: int
    customer_status_metrics: int
    customer_status_worker: int

    def check_free(self) -> None:
        """Raises PortsTaken naming every port somebody listens on."""
        taken = [f"{port} ({name})" for name, port in vars(self).items() if port is not None and _is_taken(port)]
        if taken:
            raise PortsTaken(f"already in use on {HOST}: {', '.join(taken)}. Is another `kundenclub dev` running?")


DEV_PORTS = Ports(
    postgres=15432,
    kafka=19092,
    loyalty=8001,
    loyalty_metrics=9101,
    loyalty_worker=9102,
    customer_status=8002,
    customer_status_metrics=9103,
    customer_status_worker=9104,
)


def free_ports() -> Ports:
    """Ports nobody listens on, for a stack beside others."""
    found: set[int] = set()
    while len(found) < 6:
        found.add(free_port())
    return Ports(None, None, *found)


@dataclass(frozen=True)
class Secrets:
    """What callers and vouchers of one stack are trusted by. Made anew for every stack, kept only with its data."""

    api_key: str
    voucher_keys: str
    loyalty_erasure_key: str
    customer_status_erasure_key: str

    @classmethod
    def new(cls) -> "Secrets":
        """Random ones."""
        erasure_keys = secrets.token_hex(32), secrets.token_hex(32)
        return cls(f"kc_dev{secrets.token_hex(4)}_{secrets.token_hex(32)}", f"1:{secrets.token_hex(32)}", *erasure_keys)

    @classmethod
    def kept_in(cls, env_file: Path) -> "Secrets":
        """Those of the stack whose variables are in `env_file`, or new ones."""
        if not env_file.exists():
            return cls.new()
        values = read_env_file(env_file)
        try:
            return cls(
                values["API_KEY"],
                values["LOYALTY_VOUCHER_KEYS"],
                values["LOYALTY_ERASURE_KEY"],
                values["CUSTOMER_STATUS_ERASURE_KEY"],
            )
        except KeyError:
            return cls.new()


def service_environment(
    *,
    ports: Ports,
    kept_secrets: Secrets,
    bootstrap_servers: str,
    loyalty: ServiceDatabase,
    customer_status: ServiceDatabase,
    contracts: Path,
) -> dict[str, str]:
    """The variables of both services' processes and of every command beside them (docs/operations.md)."""
    return {
        "KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers,
        "KAFKA_SECURITY_PROTOCOL": "PLAINTEXT",  # whatever a .env for other servers says
        "CONTRACTS_DIR": str(contracts.resolve()),
        "LOYALTY_DATABASE_URL": loyalty.app_url,
        "LOYALTY_MIGRATIONS_DATABASE_URL": loyalty.owner_url,
        "LOYALTY_HTTP_PORT": str(ports.loyalty),
        "LOYALTY_METRICS_PORT": str(ports.loyalty_metrics),
        "LOYALTY_WORKER_METRICS_PORT": str(ports.loyalty_worker),
        "LOYALTY_VOUCHER_KEYS": kept_secrets.voucher_keys,
        "LOYALTY_ERASURE_KEY": kept_secrets.loyalty_erasure_key,
        "LOYALTY_DEVELOPMENT": "true",
        "LOYALTY_URL": f"http://{HOST}:{ports.loyalty}",
        "CUSTOMER_STATUS_DATABASE_URL": customer_status.app_url,
        "CUSTOMER_STATUS_MIGRATIONS_DATABASE_URL": customer_status.owner_url,
        "CUSTOMER_STATUS_ERASURE_KEY": kept_secrets.customer_status_erasure_key,
        "CUSTOMER_STATUS_HTTP_PORT": str(ports.customer_status),
        "CUSTOMER_STATUS_METRICS_PORT": str(ports.customer_status_metrics),
        "CUSTOMER_STATUS_WORKER_METRICS_PORT": str(ports.customer_status_worker),
        "CUSTOMER_STATUS_WORKER_CONTACTS_EVERY_S": "2",  # somebody is watching
        "CUSTOMER_STATUS_DEVELOPMENT": "true",
        "CUSTOMER_STATUS_URL": f"http://{HOST}:{ports.customer_status}",
        "API_KEY": kept_secrets.api_key,
    }


def write_env_file(path: Path, environment: Mapping[str, str]) -> None:
    """Shell assignments, for `set -a; . FILE`. It holds secrets: nobody but the owner may read it, at no moment."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.writelines(f"{name}={shlex.quote(value)}\n" for name, value in environment.items())


def read_env_file(path: Path) -> dict[str, str]:
    """The variables of a file that `write_env_file` wrote."""
    text = path.read_text(encoding="utf-8")
    return {name: " ".join(shlex.split(value)) for name, value in _ASSIGNMENT.findall(text)}


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return True
    return False
