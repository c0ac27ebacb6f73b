"""The process between a program and a server, so that the server never outlives the program.

It holds the read end of a pipe whose write end only the program has. However the program ends - return,
exception, Ctrl-C, kill -9 - the pipe closes, and the keeper stops the server and deletes what was temporary.
It runs in a session of its own, so a Ctrl-C in the terminal reaches neither it nor the server.

Run as a script (`python -I -S keeper.py`). Orders arrive on stdin, news leave on stdout, one JSON object a line;
signals are [[number, seconds to wait for the end], ...]:

    {"delete": path}                                        at the end, after the server
    {"start": [command...], "folder": to run in, "log": path, "at_end": signals}
                                                            ->  {"started": pid} or {"failed": text}
    {"stop": signals}                                       ->  {"exited": return code}

Standard library only, so that it starts within some ten milliseconds.
"""

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
from typing import Any

PARENT_CHECK_SECONDS = 1.0
PASSED_ON = ("PATH", "HOME", "TMPDIR")

Signals = list[tuple[int, float]]


def clean_environment() -> dict[str, str]:
    """What else is set in the user's shell (JAVA_TOOL_OPTIONS, PGOPTIONS ...) shall make no difference.

    Java reads the names of files by the locale.
    """
    return {name: os.environ[name] for name in PASSED_ON if name in os.environ} | {"LC_ALL": "C.UTF-8"}


class Keeper:
    """One server at a time; it may be started again after it ended."""

    def __init__(self) -> None:
        self.server: subprocess.Popen[bytes] | None = None
        self.at_end: Signals = []
        self.delete: str | None = None

    def obey(self, order: dict[str, Any]) -> None:
        match order:
            case {"delete": path}:
                self.delete = path
            case {"start": command, "folder": folder, "log": log, "at_end": signals}:
                self.at_end = signals
                self.start(command, folder, log)
            case {"stop": signals}:
                self.stop(signals)

    def start(self, command: list[str], folder: str, log: str) -> None:
        try:
            with open(log, "ab") as output:
                self.server = subprocess.Popen(
                    command,
                    cwd=folder,
                    env=clean_environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                )
        except OSError as error:
            tell(failed=str(error))
        else:
            tell(started=self.server.pid)

    def stop(self, signals: Signals) -> None:
        """Ask ever less politely; the last signal is SIGKILL, which needs no consent."""
        for number, seconds in signals:
            if self.server is not None:
                self.server.send_signal(number)
                self.server.send_signal(signal.SIGCONT)  # a suspended server could not act on it
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.server.wait(seconds)
                self.notice_exit()

    def notice_exit(self) -> None:
        if self.server is not None and self.server.poll() is not None:
            tell(exited=self.server.returncode)
            self.server = None

    def end(self) -> None:
        self.stop(self.at_end)
        if self.delete is not None:
            shutil.rmtree(self.delete, ignore_errors=True)


def tell(**news: Any) -> None:
    """The program may be gone already; then nobody needs to know."""
    with contextlib.suppress(BrokenPipeError):
        os.write(1, json.dumps(news).encode() + b"\n")


def serve(keeper: Keeper, parent: int, child_ended: int) -> None:
    """Until the pipe closes, or the parent is gone while a fork of it still holds the pipe open."""
    pending = b""
    while os.getppid() == parent:
        ready, _, _ = select.select([0, child_ended], [], [], PARENT_CHECK_SECONDS)
        if child_ended in ready:
            os.read(child_ended, 1024)
        if 0 in ready:
            received = os.read(0, 65536)
            if not received:
                return
            *orders, pending = (pending + received).split(b"\n")
            for order in orders:
                keeper.obey(json.loads(order))
        keeper.notice_exit()


def main() -> None:
    parent = os.getppid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)  # SIG_IGN would be inherited: a server deaf to SIGTERM
    child_ended, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    keeper = Keeper()
    try:
        serve(keeper, parent, child_ended)
    finally:
        keeper.end()


if __name__ == "__main__":
    main()
