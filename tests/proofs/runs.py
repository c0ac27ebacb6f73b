"""One run: servers of its own with so many partitions, both services' workers, the history in one order.

All that comes out is text: what `state` prints of each service at each instant, and the reasons of the dead letters.
"""

import asyncio
import os
import random
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from devstack.ports import HOST, free_port
from eventing.database import connect
from kundenclub.environment import free_ports
from kundenclub.interrupts import run
from kundenclub.processes import Processes, script_path
from kundenclub.stack import Stack, stack

from tests.proofs.history import Event, written
from tests.proofs.orders import Order
from tests.proofs.terms import with_dated_terms

SERVICES = ("loyalty", "customer-status")
WORKERS = ("loyalty-worker", "customer-status-worker")
SESSION = {"KAFKA_SESSION_TIMEOUT_MS": "3000"}
"""So that others soon have the partitions of workers that were killed."""
COMMAND_TIMEOUT_S = 1200.0
SETTLE_TIMEOUT_S = 1000.0

Say = Callable[[str], None]


class ProofFailed(Exception):
    """A command did not do its part, or what came out is not what must; the text says which and how."""


class Plan(NamedTuple):
    """How a run differs from the others: order and cuts of the history, partitions, workers, and kill -9 of them."""

    order: Order
    partitions: int
    workers: int = 1
    kills: int = 0

    def __str__(self) -> str:
        told = [self.order.__name__.replace("_", " "), f"{self.partitions} partitions", f"{self.workers} workers each"]
        return ", ".join([*told, f"killed {self.kills} times"] if self.kills else told)


@dataclass
class Outcome:
    """What a run ended with: the text of each state by service and instant, and reasons of dead letters by service."""

    published: int = 0
    states: dict[tuple[str, str], str] = field(default_factory=dict)
    refused: dict[str, list[str]] = field(default_factory=dict)


def copied_contracts(source: Path, target: Path, partitions: int) -> Path:
    """The contracts with dated terms and so many partitions in every topic."""
    shutil.copytree(source, target)
    programme = target / "programme.toml"
    programme.write_text(with_dated_terms(programme.read_text(encoding="utf-8")), encoding="utf-8")
    for topic in (target / "topics").glob("*.yaml"):
        text, changed = re.subn(r"(?m)^partitions: \d+$", f"partitions: {partitions}", topic.read_text())
        assert changed == 1, topic
        topic.write_text(text)
    return target


def carry_out(
    plan: Plan, events: Sequence[Event], instants: Sequence[str], contracts: Path, folder: Path, seed: int, say: Say
) -> Outcome:
    """One run in a `folder` of its own. Raises ProofFailed, and what starting servers raises."""
    chance = random.Random(seed)
    log = plan.order(list(events), chance)
    own_contracts = copied_contracts(contracts, folder / "contracts", plan.partitions)
    home = folder / "stack"
    home.mkdir()
    with stack(home, contracts=own_contracts, ports=free_ports(), keep=False, say=lambda line: None) as servers:
        return run(_at_work(servers, plan, log, instants, chance, say))


async def _at_work(
    servers: Stack, plan: Plan, log: Sequence[Event], instants: Sequence[str], chance: random.Random, say: Say
) -> Outcome:
    async with AsyncExitStack() as running:
        workers = [await running.enter_async_context(each) for each in _workers(servers, plan.workers, say)]
        started = time.monotonic()
        await _publish(servers, workers, log, plan.kills)
        say(f"published {len(log):,} events; waiting until both services agree")
        await _settle(servers)
        seconds = time.monotonic() - started
        say(f"settled after {seconds:.1f} s ({len(log) / seconds:,.0f} events/s)")
        return await _outcome(servers, len(log), instants)


def _workers(servers: Stack, count: int, say: Say) -> list[Processes]:
    """The workers of both services, so many of each; those beyond the first have ports and logs of their own."""
    programs = [program for program in servers.programs if program.name in WORKERS]
    environment = {**servers.environment, **SESSION}
    processes = [Processes(programs, environment, servers.logs, say)]
    for number in range(1, count):
        ports = {service: free_port() for service in SERVICES}
        logs = servers.logs / str(number)
        logs.mkdir()
        settings = {f"{_prefix(name)}_WORKER_METRICS_PORT": str(port) for name, port in ports.items()}
        more = [replace(p, ready_url=f"http://{HOST}:{ports[p.script]}/readyz") for p in programs]
        processes.append(Processes(more, {**environment, **settings}, logs, say))
    return processes


async def _publish(servers: Stack, workers: Sequence[Processes], log: Sequence[Event], kills: int) -> None:
    """In `kills` + 1 pieces; after each but the last both services' first workers are killed in mid-stream."""
    piece = len(log) // (kills + 1) + 1
    for first in range(0, len(log), piece):
        file = servers.logs / f"events-{first}.jsonl"
        file.write_text("".join(map(written, log[first : first + piece])), encoding="utf-8")
        await _command(servers.environment, "kundenclub", "publish", str(file))
        if first + piece < len(log):
            for name in WORKERS:
                workers[0].kill(name)


async def _settle(servers: Stack) -> None:
    deadline = time.monotonic() + SETTLE_TIMEOUT_S
    verify = ("verify", "--wait", str(SETTLE_TIMEOUT_S))
    while "not handled yet" in (told := await _command(servers.environment, "kundenclub", *verify)):
        if time.monotonic() > deadline:
            raise ProofFailed(f"after {SETTLE_TIMEOUT_S:.0f} s:\n{told}")


async def _outcome(servers: Stack, published: int, instants: Sequence[str]) -> Outcome:
    keys = [(service, at) for service in SERVICES for at in instants]
    states = await asyncio.gather(
        *(_command(servers.environment, service, "state", "--at", at) for service, at in keys)
    )
    refused = [await _refused(servers.environment, service) for service in SERVICES]
    return Outcome(published, dict(zip(keys, states, strict=True)), dict(zip(SERVICES, refused, strict=True)))


async def _refused(environment: Mapping[str, str], service: str) -> list[str]:
    """The reasons of the dead letters, sorted."""
    conn = await connect(environment[f"{_prefix(service)}_DATABASE_URL"], application_name="proof")
    try:
        return [row["reason"] for row in await conn.fetch("SELECT reason FROM dead_letter ORDER BY reason")]
    finally:
        await conn.close()


def _prefix(service: str) -> str:
    return service.replace("-", "_").upper()


def simulated(events: Sequence[Event], instants: Sequence[str], contracts: Path, folder: Path) -> Outcome:
    """What the pure rules make of the same events, without any server."""
    environment = {"CONTRACTS_DIR": str(copied_contracts(contracts, folder / "contracts", 1))}
    file = folder / "events.jsonl"
    file.write_text("".join(map(written, events)), encoding="utf-8")
    keys = [(service, at) for service in SERVICES for at in instants]

    async def all_states() -> list[str]:
        simulate = ("simulate", str(file), "--service")
        return await asyncio.gather(
            *(_command(environment, "kundenclub", *simulate, service, "--at", at) for service, at in keys)
        )

    return Outcome(len(events), dict(zip(keys, run(all_states()), strict=True)))


async def _command(environment: Mapping[str, str], script: str, *arguments: str) -> str:
    """Standard output of a command that must succeed. Raises ProofFailed."""
    process = await asyncio.create_subprocess_exec(
        script_path(script),
        *arguments,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        output, errors = await asyncio.wait_for(process.communicate(), COMMAND_TIMEOUT_S)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise ProofFailed(f"`{script} {' '.join(arguments[:2])}` failed:\n{output.decode()}{errors.decode()}")
    return output.decode()
