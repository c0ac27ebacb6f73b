"""A process that ends with this one: the program's end of the pipe to `keeper.py`."""

import contextlib
import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from signal import Signals
from typing import Any

from devstack.errors import DevstackError

KEEPER = Path(__file__).with_name("keeper.py")
POLL_SECONDS = 0.02

StopSignals = Sequence[tuple[Signals, float]]
"""Signals to send one after the other, each with the seconds to wait for the end before the next."""


class KeptProcess:
    """Start, stop, and start again; `pid` is None while it does not run. For one thread at a time."""

    def __init__(self, log: Path, *, lock: int, delete: Path | None) -> None:
        """`lock` is a descriptor the keeper holds as long as it lives; `delete` a folder it deletes at its end."""
        self.log = log
        self.pid: int | None = None
        self._log_start = 0
        with log.open("ab") as output:
            self._keeper = subprocess.Popen(
                [sys.executable, "-I", "-S", str(KEEPER)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                pass_fds=[lock],
                start_new_session=True,
            )
        assert self._keeper.stdout is not None
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._keeper.stdout, selectors.EVENT_READ)
        self._pending = b""
        if delete is not None:
            self._order(delete=str(delete))

    def start(self, command: Sequence[str], *, at_end: StopSignals) -> None:
        """In the folder of its log. `at_end` is how the keeper stops it when this program ends, or closes it."""
        self._log_start = self.log.stat().st_size
        folder, log = str(self.log.parent), str(self.log)
        self._order(start=list(command), folder=folder, log=log, at_end=_plain(at_end))
        self.wait_until(lambda: self.pid is not None, 10.0, "was not started by its keeper")

    def stop(self, signals: StopSignals) -> None:
        if self.is_running():
            self._order(stop=_plain(signals))
            seconds = sum(seconds for _, seconds in signals) + 5.0
            self.wait_until(lambda: self.pid is None, seconds, "did not stop")

    def is_running(self) -> bool:
        self._hear(0)
        return self.pid is not None

    def wait_until(self, condition: Callable[[], bool], seconds: float, complaint: str) -> None:
        """Raises DevstackError with the end of the log when the time is over."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise DevstackError(f"{self.log.stem} {complaint} within {seconds:.0f} s\n{self.log_tail()}")
            self._hear(POLL_SECONDS)

    def log_tail(self, lines: int = 20) -> str:
        """The last lines written since the last start."""
        with contextlib.suppress(OSError), self.log.open("rb") as log:
            log.seek(self._log_start)
            return "\n".join(log.read().decode(errors="replace").splitlines()[-lines:])
        return ""

    def close(self) -> None:
        """Let go: the keeper stops the process, deletes what it was told to, and ends."""
        assert self._keeper.stdin is not None
        assert self._keeper.stdout is not None
        self._keeper.stdin.close()
        self._keeper.wait()
        self._selector.close()
        self._keeper.stdout.close()
        self.pid = None

    def _order(self, **order: Any) -> None:
        assert self._keeper.stdin is not None
        try:
            self._keeper.stdin.write(json.dumps(order).encode() + b"\n")
            self._keeper.stdin.flush()
        except (BrokenPipeError, ValueError):
            raise DevstackError(f"{self.log.stem} has been closed, or its keeper was killed") from None

    def _hear(self, seconds: float) -> None:
        for news in self._read(seconds):
            match news:
                case {"started": pid}:
                    self.pid = pid
                case {"exited": _}:
                    self.pid = None
                case {"failed": text}:
                    raise DevstackError(f"{self.log.stem} cannot be started: {text}")

    def _read(self, seconds: float) -> list[dict[str, Any]]:
        ready = self._selector.select(seconds)
        if not ready:
            return []
        received = os.read(ready[0][0].fd, 65536)
        if not received:
            raise DevstackError(f"the keeper of {self.log.stem} was killed, and its server with it")
        *lines, self._pending = (self._pending + received).split(b"\n")
        return [json.loads(line) for line in lines]


def _plain(signals: StopSignals) -> list[tuple[int, float]]:
    return [(int(number), seconds) for number, seconds in signals]
