"""What PostgreSQL and Kafka have in common: a folder, ports, and a process that ends with this one."""

import contextlib
import signal
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

from devstack.errors import DevstackError
from devstack.folders import folder_lock
from devstack.kept_process import KeptProcess, StopSignals
from devstack.launch import launch_command
from devstack.ports import HOST, PortTaken, free_port, is_free

START_ATTEMPTS = 5
KILL_TIMEOUT_SECONDS = 10.0


class Server(ABC):
    """One server in one folder, on ports of 127.0.0.1. Its methods block, and are for one thread at a time."""

    name: str
    ports_needed = 1
    start_timeout_seconds = 120.0
    unprivileged = False
    death_signal = signal.SIGKILL
    """What it gets should its keeper be killed."""

    def __init__(self, folder: Path, *, temporary: bool, port: int | None) -> None:
        self.folder = folder
        self.temporary = temporary
        self.host = HOST
        self.ports: list[int] = []
        self._fixed_port = port
        self._process: KeptProcess

    @property
    def port(self) -> int:
        """The one for clients; the same after a restart."""
        return self.ports[0]

    @property
    def pid(self) -> int | None:
        """None while it does not run."""
        return self._process.pid if self._process.is_running() else None

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    @abstractmethod
    def prepare(self) -> None:
        """Make the folder's contents, unless they are there."""

    @abstractmethod
    def command(self) -> list[str]:
        """What to run, on `self.ports`."""

    @abstractmethod
    def is_ready(self) -> bool: ...

    @abstractmethod
    def orderly_stop(self) -> StopSignals: ...

    @abstractmethod
    def quick_stop(self) -> StopSignals:
        """For when its data is thrown away."""

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Raises DevstackError with the end of the server's log if it cannot be started."""
        with contextlib.ExitStack() as stack:
            try:
                lock = stack.enter_context(folder_lock(self.folder))
                self._process = KeptProcess(self.log, lock=lock, delete=self.folder if self.temporary else None)
                stack.callback(self._process.close)
                self.prepare()
                self._start()
            except OSError as error:
                raise DevstackError(f"{self.name} cannot be started: {error}") from error
            yield

    def kill(self) -> None:
        """SIGKILL to the server and its children at once: what a power cut is to it."""
        self._signal(signal.SIGKILL)
        self._process.wait_until(lambda: self.pid is None, KILL_TIMEOUT_SECONDS, "did not end after SIGKILL")

    def restart(self) -> None:
        """On the same ports with the same data; stopped in an orderly way before, if it runs."""
        self.stop()
        self._launch()

    def stop(self) -> None:
        """In an orderly way; `restart` starts it again."""
        self._process.stop(self.orderly_stop())

    def suspend(self) -> None:
        """SIGSTOP: connections stay open and nothing answers, as with a machine that hangs."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def log_tail(self) -> str:
        """The last lines of its log since its last start."""
        return self._process.log_tail()

    def _start(self) -> None:
        """A port that was free a moment ago may be taken now; then on others."""
        for attempts_left in reversed(range(START_ATTEMPTS)):
            self.ports = [free_port() for _ in range(self.ports_needed)]
            if self._fixed_port is not None:
                self.ports[0] = self._fixed_port
                if not is_free(self._fixed_port):
                    raise self._port_taken()
            try:
                return self._launch()
            except PortTaken:
                if not attempts_left:
                    raise
        return None

    def _port_taken(self) -> PortTaken:
        ports = " and ".join(map(str, self.ports))
        return PortTaken(f"{self.name} cannot listen on {ports} of {HOST}: already taken")

    def _launch(self) -> None:
        command = launch_command(self.command(), unprivileged=self.unprivileged, death_signal=self.death_signal)
        at_end = self.quick_stop() if self.temporary else self.orderly_stop()
        self._process.start(command, at_end=at_end)
        self._process.wait_until(self._is_ready_or_has_ended, self.start_timeout_seconds, "was not ready")

    def _is_ready_or_has_ended(self) -> bool:
        if self._process.is_running():
            return self.is_ready()
        tail = self._process.log_tail()
        if "address already in use" in tail.lower():
            raise self._port_taken()
        raise DevstackError(f"{self.name} ended instead of starting; the end of its log:\n{tail}")

    def _signal(self, number: signal.Signals) -> None:
        """To all its processes. It stands still meanwhile, so that it makes no further ones nor reacts."""
        import psutil

        if (pid := self.pid) is None:
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            server = psutil.Process(pid)
            server.suspend()
            for process in [*server.children(recursive=True), server]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(number)
