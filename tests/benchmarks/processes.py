"""The services' own processes: started, waited for, watched and stopped."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from types import MappingProxyType

import httpx
import psutil
from devstack import launch_command
from devstack.ports import HOST, free_port
from kundenclub.processes import ProcessFailed, script_path

READY_S = 60.0
STOP_S = 30.0
COMMAND_S = 600.0


@dataclass(frozen=True)
class Program:
    """What to run and where it says that it is ready; `variables` are its own part of the environment."""

    command: Sequence[str]
    variables: Mapping[str, str]
    ready_url: str

    @property
    def url(self) -> str:
        """Where it answers."""
        return self.ready_url.removesuffix("/readyz")


def worker(service: str, *, under: Sequence[str] = (), variables: Mapping[str, str] = MappingProxyType({})) -> Program:
    """A worker of `service` with a port of its own; `under` is what runs its script."""
    port, prefix = free_port(), service.replace("-", "_").upper()
    command = [*under, script_path(service), "worker"]
    return Program(command, {**variables, f"{prefix}_WORKER_METRICS_PORT": str(port)}, f"http://{HOST}:{port}/readyz")


def loyalty_api(environment: Mapping[str, str]) -> Program:
    """The HTTP process of loyalty."""
    return Program([script_path("loyalty"), "api"], {}, f"{environment['LOYALTY_URL']}/readyz")


def unlimited_api(service: str) -> Program:
    """An HTTP process of `service` on a port of its own, with the limit of each client's requests a second off."""
    port, prefix = free_port(), service.replace("-", "_").upper()
    variables = {
        f"{prefix}_HTTP_PORT": str(port),
        f"{prefix}_METRICS_PORT": str(free_port()),
        f"{prefix}_RATE_LIMIT_PER_SECOND": "0",
    }
    return Program([script_path(service), "api"], variables, f"http://{HOST}:{port}/readyz")


@asynccontextmanager
async def running(programs: Sequence[Program], environment: Mapping[str, str]) -> AsyncIterator[list[psutil.Process]]:
    """All of them, from when each is ready until the block ends. Raises ProcessFailed."""
    started: list[asyncio.subprocess.Process] = []
    try:
        for program in programs:
            started.append(await _start(program.command, {**environment, **program.variables}))
        async with httpx.AsyncClient(timeout=2.0, trust_env=False) as client:
            for program, process in zip(programs, started, strict=True):
                await _until_ready(client, program, process)
        yield [psutil.Process(process.pid) for process in started]
    finally:
        await asyncio.gather(*map(_stop, started))


@asynccontextmanager
async def beside(command: Sequence[str], environment: Mapping[str, str]) -> AsyncIterator[None]:
    """A program that tells nobody when it is ready, such as one that makes load, until the block ends.

    Raises ProcessFailed if it ended before.
    """
    process = await _start(command, environment)
    try:
        yield
        if process.returncode is not None:
            raise ProcessFailed(f"`{' '.join(command)}` ended with {process.returncode}")
    finally:
        await _stop(process)


async def run_command(environment: Mapping[str, str], script: str, *arguments: str) -> None:
    """A command of a service, to its end. Raises ProcessFailed with its output."""
    process = await asyncio.create_subprocess_exec(
        *launch_command([script_path(script), *arguments]),
        env={**os.environ, **environment},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), COMMAND_S)
    finally:
        await _stop(process)
    if process.returncode != 0:
        raise ProcessFailed(f"`{script} {' '.join(arguments)}` failed:\n{output.decode(errors='replace')[-2000:]}")


def memory_bytes(process: psutil.Process) -> int:
    """Its own memory and its share of what it shares with others (PSS); 0 once it has ended."""
    with suppress(psutil.Error):
        return int(process.memory_full_info().pss)
    return 0


def cpu_seconds(processes: Iterable[psutil.Process]) -> float:
    """What they have computed so far, in themselves and for their system calls; those that ended are left out."""
    total = 0.0
    for process in processes:
        with suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system
    return total


async def _start(command: Sequence[str], environment: Mapping[str, str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *launch_command(command),
        env={**os.environ, **environment, "LOG_LEVEL": "ERROR"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )


async def _until_ready(client: httpx.AsyncClient, program: Program, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(READY_S):
        while True:
            if process.returncode is not None:
                raise ProcessFailed(f"`{' '.join(program.command)}` ended with {process.returncode}")
            with suppress(httpx.TransportError):
                if (await client.get(program.ready_url)).status_code == 200:
                    return
            await asyncio.sleep(0.02)


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), STOP_S)
        except TimeoutError:
            process.kill()
            await process.wait()
