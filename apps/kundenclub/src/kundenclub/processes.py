"""The services' processes: started together, started again when one dies, stopped in order."""

import asyncio
import contextlib
import os
import signal
import sysconfig
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import httpx
from devstack import launch_command

from kundenclub.errors import Explained
from kundenclub.together import all_done

READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0  # a worker ends its batch and its relay first
FIRST_BACK_OFF_S = 0.5
LONGEST_BACK_OFF_S = 15.0
# A process that ran this long was all right: the next restart need not wait.
STEADY_S = 30.0
LOG_TAIL_LINES = 8


class ProcessFailed(Explained):
    """A process that the command needs did not do its part; the text says which, and shows the end of its log."""


@dataclass(frozen=True)
class Program:
    """What to run: a console script of this installation, its arguments, and where it says that it is ready."""

    name: str
    script: str
    arguments: tuple[str, ...]
    ready_url: str

    def command(self) -> list[str]:
        """The command line. The process dies with this one, in whatever way this one ends."""
        return launch_command([script_path(self.script), *self.arguments], death_signal=signal.SIGKILL)


@dataclass
class _Running:
    program: Program
    log: Path
    process: asyncio.subprocess.Process | None = None
    restarts: int = 0
    ready: bool = False
    keeper: "asyncio.Task[None] | None" = field(default=None, repr=False)


class Processes:
    """An async context manager: inside, all programs run and were ready once; `say` hears of every restart.

    Raises ProcessFailed on entering when one of them ends before it was ready, or is not ready in time.
    """

    def __init__(
        self, programs: Sequence[Program], environment: Mapping[str, str], logs: Path, say: Callable[[str], None]
    ) -> None:
        self._running = {program.name: _Running(program, logs / f"{program.name}.log") for program in programs}
        self._environment = {**os.environ, **environment}
        self._say = say

    async def __aenter__(self) -> "Processes":
        try:
            for running in self._running.values():
                running.log.write_bytes(b"")
                await self._start(running)
            async with httpx.AsyncClient(timeout=2.0, trust_env=False) as client:
                await all_done(self._until_ready(running, client) for running in self._running.values())
            for running in self._running.values():
                running.keeper = asyncio.create_task(self._keep_up(running))
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    @property
    def restarts(self) -> int:
        """How many times a process that had died was started again."""
        return sum(running.restarts for running in self._running.values())

    def kill(self, name: str) -> None:
        """kill -9, as a test of what follows."""
        process = self._running[name].process
        assert process is not None
        with contextlib.suppress(ProcessLookupError):
            process.kill()

    async def _start(self, running: _Running) -> None:
        with running.log.open("ab") as log:
            running.process = await asyncio.create_subprocess_exec(
                *running.program.command(),
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for this command, which then stops them in order
            )

    async def _until_ready(self, running: _Running, client: httpx.AsyncClient) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not await _answers(client, running.program.ready_url):
            assert running.process is not None
            if running.process.returncode is not None:
                raise ProcessFailed(_explain(running, f"ended with code {running.process.returncode} while starting"))
            if time.monotonic() > deadline:
                raise ProcessFailed(_explain(running, f"was not ready within {READY_TIMEOUT_S:.0f} s"))
            await asyncio.sleep(0.1)

    async def _keep_up(self, running: _Running) -> None:
        back_off_s = FIRST_BACK_OFF_S
        while True:
            assert running.process is not None
            since = time.monotonic()
            code = await running.process.wait()
            if time.monotonic() - since > STEADY_S:
                back_off_s = FIRST_BACK_OFF_S
            self._say(f"{running.program.name} ended ({_reason(code)}); starting it again in {back_off_s:g} s")
            await asyncio.sleep(back_off_s)
            back_off_s = min(2 * back_off_s, LONGEST_BACK_OFF_S)
            running.restarts += 1
            await self._start(running)

    async def _stop(self) -> None:
        for running in self._running.values():
            if running.keeper is not None:
                running.keeper.cancel()
                await asyncio.gather(running.keeper, return_exceptions=True)
        deadline = time.monotonic() + STOP_TIMEOUT_S
        await asyncio.gather(*(_end(running.process, deadline) for running in self._running.values()))


async def _end(process: asyncio.subprocess.Process | None, deadline: float) -> None:
    if process is None or process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), deadline - time.monotonic())
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _answers(client: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(url)).status_code == 200
    except httpx.TransportError:
        return False


def script_path(name: str) -> str:
    """The console script of this installation."""
    return str(Path(sysconfig.get_path("scripts"), name))


def _reason(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"code {code}"


def _explain(running: _Running, what: str) -> str:
    lines = running.log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
    return "\n".join([f"{running.program.name} {what}; the end of {running.log}:", *(f"  {line}" for line in lines)])
