"""The whole system on this machine: PostgreSQL, Kafka, topics, schemas, keys, and the services' four processes."""

import asyncio
import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from devstack import DevstackError, create_service_database, kafka, launch_command, postgres
from eventing.kafka import KafkaConfig
from eventing.topics import TopicSpec, apply_topics

from kundenclub.contracts import read_topics
from kundenclub.environment import (
    API_KEY_NAME,
    API_KEY_SCOPES,
    Ports,
    Secrets,
    service_environment,
    write_env_file,
)
from kundenclub.interrupts import run
from kundenclub.processes import ProcessFailed, Program, script_path
from kundenclub.together import all_done

SERVICES = ("loyalty", "customer-status")
COMMAND_TIMEOUT_S = 120.0
# Room for a year of purchases in a minute; pages that nobody touches cost no memory.
SHARED_BUFFERS = "512MB"
MAX_WAL_SIZE = "4GB"

Say = Callable[[str], None]


@dataclass(frozen=True)
class Stack:
    """Servers that run, prepared for the services; `programs` are the services' processes, to be run."""

    environment: Mapping[str, str]
    programs: tuple[Program, ...]
    logs: Path


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """One command a folder; the lock goes with this process, however it ends. Raises DevstackError."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DevstackError(f"{folder} is in use: another command runs the system there") from None
        yield


@contextmanager
def stack(folder: Path, *, contracts: Path, ports: Ports, keep: bool, say: Say, fsync: bool = True) -> Iterator[Stack]:
    """Start the servers with their data in `folder` and prepare them. Only with `keep` old data is used, and stays.
    Without `fsync`, for tests, it may be lost when the machine crashes.

    To be entered inside `only_one(folder)` and `stop_signals_interrupt`. Raises Explained, DevstackError, KafkaError.
    """
    specs = read_topics(contracts)
    with ExitStack() as servers:
        env_file, logs = folder / "env", folder / "logs"
        if not keep:
            _clear(folder)
            servers.callback(_clear, folder)
        logs.mkdir(exist_ok=True)
        say("starting PostgreSQL")
        database = servers.enter_context(
            postgres(
                folder / "postgres",
                port=ports.postgres,
                fsync=fsync,
                shared_buffers=SHARED_BUFFERS,
                max_wal_size=MAX_WAL_SIZE,
            )
        )
        say("starting Kafka (downloaded once, 45 MB)")
        broker = servers.enter_context(kafka(folder / "kafka", port=ports.kafka))
        environment = service_environment(
            ports=ports,
            kept_secrets=Secrets.kept_in(env_file),
            bootstrap_servers=broker.bootstrap_servers,
            loyalty=create_service_database(database, "loyalty"),
            customer_status=create_service_database(database, "customer-status"),
            contracts=contracts,
        )
        write_env_file(env_file, environment)
        say("creating topics, schemas and an API key")
        run(_prepare(environment, specs, say))
        yield Stack(environment, _programs(ports), logs)


async def _prepare(environment: Mapping[str, str], specs: Sequence[TopicSpec], say: Say) -> None:
    kafka = KafkaConfig(environment["KAFKA_BOOTSTRAP_SERVERS"])
    services = (_prepare_service(service, environment) for service in SERVICES)
    await all_done([_prepare_topics(kafka, specs, say), *services])


async def _prepare_topics(kafka: KafkaConfig, specs: Sequence[TopicSpec], say: Say) -> None:
    _, findings = await apply_topics(kafka, specs)
    for finding in findings:
        say(f"topic {finding}")


async def _prepare_service(service: str, environment: Mapping[str, str]) -> None:
    await _command(environment, service, "migrate")
    scopes = [argument for scope in API_KEY_SCOPES[service] for argument in ("--scope", scope)]
    await _command(environment, service, "keys", "create", "--name", API_KEY_NAME, "--secret-env", "API_KEY", *scopes)


async def _command(environment: Mapping[str, str], script: str, *arguments: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *launch_command([script_path(script), *arguments]),
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), COMMAND_TIMEOUT_S)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        told = output.decode(errors="replace").strip()
        raise ProcessFailed(f"`{script} {' '.join(arguments[:2])}` failed:\n{told}")


def _programs(ports: Ports) -> tuple[Program, ...]:
    def program(service: str, command: str, port: int) -> Program:
        return Program(f"{service}-{command}", service, (command,), f"http://127.0.0.1:{port}/readyz")

    return (
        program("loyalty", "worker", ports.loyalty_worker),
        program("customer-status", "worker", ports.customer_status_worker),
        program("loyalty", "api", ports.loyalty),
        program("customer-status", "api", ports.customer_status),
    )


def _clear(folder: Path) -> None:
    for name in ("postgres", "kafka"):
        shutil.rmtree(folder / name, ignore_errors=True)
    (folder / "env").unlink(missing_ok=True)
