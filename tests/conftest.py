"""The whole system, once for all end-to-end tests: real servers, the four processes, commands by name."""

import asyncio
import json
import os
import subprocess
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from devstack.forked_scripts import ForkedScripts
from eventing.kafka import KafkaConfig
from eventing.log_ends import read_end_offsets
from eventing.rebuild_log import LogReader
from eventing.records import Record
from kundenclub.environment import free_ports
from kundenclub.processes import Processes
from kundenclub.stack import Stack, stack

CONTRACTS = Path(__file__).parents[1] / "contracts"
COMMAND_TIMEOUT_S = 120.0
SESSION = {"KAFKA_SESSION_TIMEOUT_MS": "3000"}
"""Tests kill workers, and wait until others have their partitions."""
SOURCES = (b"urn:kundenclub:loyalty", b"urn:kundenclub:customer-status")


@dataclass(frozen=True)
class System:
    """A running system, as an operator sees it: commands, and processes that can be killed."""

    environment: Mapping[str, str]
    processes: Processes
    ready_urls: tuple[str, ...]
    folder: Path
    scripts: ForkedScripts

    def run(self, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a console script with the system's environment."""
        return self.scripts.run(command, *arguments, env={**os.environ, **self.environment}, timeout=COMMAND_TIMEOUT_S)

    async def kill_and_wait(self, *names: str) -> None:
        """kill -9 processes, and return when all of the system's are ready again."""
        before = self.processes.restarts
        for name in names:
            self.processes.kill(name)
        async with asyncio.timeout(60), httpx.AsyncClient(trust_env=False) as client:
            while self.processes.restarts < before + len(names):
                await asyncio.sleep(0.05)
            for url in self.ready_urls:
                while not await _answers(client, url):
                    await asyncio.sleep(0.05)

    def publish(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Publish events with `kundenclub publish`."""
        file = self.folder / f"events-{time.monotonic_ns()}.jsonl"
        file.write_text("".join(json.dumps(event) + "\n" for event in events))
        done = self.run("kundenclub", "publish", str(file))
        assert done.returncode == 0, done.stdout + done.stderr

    def state(self, service: str, *, at: str | None = None, prefix: str = "") -> dict[str, dict[str, Any]]:
        """What `<service> state` prints of the members whose id begins with `prefix`, by member_id."""
        done = self.run(service, "state", *(["--at", at] if at else []))
        assert done.returncode == 0, done.stderr
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        assert [row["member_id"] for row in rows] == sorted(row["member_id"] for row in rows)
        return {row["member_id"]: row for row in rows if row["member_id"].startswith(prefix)}

    def settle(self) -> None:
        """Wait until both services have handled every event, and `kundenclub verify` finds nothing wrong."""
        deadline = time.monotonic() + COMMAND_TIMEOUT_S
        while True:
            done = self.run("kundenclub", "verify")
            assert done.returncode == 0, done.stdout + done.stderr
            if "not handled yet" not in done.stdout:
                return
            assert time.monotonic() < deadline, done.stdout


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """PostgreSQL and Kafka, prepared for the services."""
    folder = tmp_path_factory.mktemp("system")
    with stack(
        folder, contracts=CONTRACTS, ports=free_ports(), keep=False, say=lambda line: None, fsync=False
    ) as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def system(servers: Stack, contract: Any, scripts: ForkedScripts) -> AsyncIterator[System]:
    """One system for the session; tests keep apart by the prefix of their member ids.

    At its end everything that its services have published must be what contracts/ promises.
    """
    environment = {**servers.environment, **SESSION}
    async with Processes(servers.programs, environment, servers.logs, lambda line: None) as processes:
        urls = tuple(program.ready_url for program in servers.programs)
        yield System(environment, processes, urls, servers.logs, scripts)
    published = await published_by_services(servers.environment["KAFKA_BOOTSTRAP_SERVERS"])
    complaints = [why for record in published if (why := contract.complaint(record))]
    assert complaints == [], f"{len(complaints)} of {len(published)} messages"


async def published_by_services(bootstrap_servers: str) -> list[Record]:
    """What the log has of our services; tests publish to their topics too, under sources of their own."""
    found: list[Record] = []
    kafka = KafkaConfig(bootstrap_servers)
    topics = [path.stem for path in (CONTRACTS / "topics").glob("*.yaml")]
    ends = await read_end_offsets(kafka, topics)
    async with LogReader(kafka, "contract", print) as log:
        for partition, end in ends.items():
            async for records in log.read(partition, await log.begins_at(partition), end, 1_000):
                found += [each for each in records if dict(each.headers).get("ce_source", b"") in SOURCES]
    return found


async def _answers(client: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(url)).status_code == 200
    except httpx.TransportError:
        return False
