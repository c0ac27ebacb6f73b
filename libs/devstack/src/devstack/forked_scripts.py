"""Console scripts for tests, each in a process of its own that is forked from one that has loaded them already.

To load what a script imports takes half a second of processor time, often more than its work; a fork, milliseconds.
The script runs by its entry point, with its own arguments, environment, folder, input and output, as from a shell.

Run as a module, this is the process that forks. Every caller connects to its socket and sends one JSON object with
three descriptors; the answer is the number of the process, then its exit status, on a line each.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.metadata import entry_points
from pathlib import Path
from typing import IO, Any

START_TIMEOUT_SECONDS = 60.0
REQUEST_BYTES = 1 << 20


class ForkedScripts:
    """Runs scripts; for any number of threads. `close` ends the process that forks."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="devstack-scripts-")
        self._address = str(Path(self._folder.name, "socket"))
        command = [sys.executable, "-m", "devstack.forked_scripts", self._address]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"

    def run(
        self,
        script: str,
        *arguments: str,
        env: Mapping[str, str],
        timeout: float,
        input: bytes = b"",
        cwd: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """What `subprocess.run` returns. Raises subprocess.TimeoutExpired, after it has killed the script."""
        request = {"script": script, "arguments": arguments, "env": dict(env), "cwd": str(cwd or Path.cwd())}
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            given.write(input)
            given.seek(0)
            status = self._status(request, (given, out, err), timeout)
            return subprocess.CompletedProcess([script, *arguments], status, _text(out), _text(err))

    def close(self) -> None:
        """Scripts that run go on."""
        self._process.communicate()
        self._folder.cleanup()

    def _status(self, request: dict[str, Any], files: tuple[IO[bytes], ...], timeout: float) -> int:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(START_TIMEOUT_SECONDS)
            connection.connect(self._address)
            socket.send_fds(connection, [json.dumps(request).encode() + b"\n"], [file.fileno() for file in files])
            with connection.makefile("r") as answers:
                pid = int(answers.readline())
                connection.settimeout(timeout)
                try:
                    return int(answers.readline())
                except TimeoutError:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                    raise subprocess.TimeoutExpired([request["script"], *request["arguments"]], timeout) from None


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


def _load(script: str, loaded: dict[str, Callable[[], object]]) -> None:
    """The entry point, and all modules of its package: those that a command imports only when it is called, too."""
    if script not in loaded:
        [entry] = entry_points(group="console_scripts", name=script)
        package = importlib.import_module(entry.module.partition(".")[0])
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith(".__main__"):
                importlib.import_module(module.name)
        loaded[script] = entry.load()


def _serve(address: str) -> None:
    """Until standard input, which the caller holds, is closed."""
    loaded: dict[str, Callable[[], object]] = {}
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the processes that wait for scripts
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(64)
        print("ready", flush=True)
        readable: list[int | socket.socket] = [sys.stdin.fileno(), listener]
        while listener in select.select(readable, [], [])[0]:
            connection, _ = listener.accept()
            with connection:
                request, descriptors = _received(connection)
                _load(request["script"], loaded)
                if os.fork() == 0:
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    listener.close()
                    _wait_for_fork(connection, loaded[request["script"]], request, descriptors)
                for descriptor in descriptors:
                    os.close(descriptor)


def _received(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    data, descriptors, _, _ = socket.recv_fds(connection, REQUEST_BYTES, 3)
    while not data.endswith(b"\n"):
        data += connection.recv(REQUEST_BYTES)
    return json.loads(data), descriptors


def _wait_for_fork(
    connection: socket.socket, main: Callable[[], object], request: dict[str, Any], descriptors: list[int]
) -> None:
    """Never returns."""
    pid = os.fork()
    if pid == 0:
        connection.close()
        _become(main, request, descriptors)
    with suppress(OSError):  # the caller may have gone
        connection.sendall(f"{pid}\n".encode())
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        connection.sendall(f"{status}\n".encode())
    os._exit(0)


def _become(main: Callable[[], object], request: dict[str, Any], descriptors: list[int]) -> None:
    """Never returns."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for target, descriptor in enumerate(descriptors):
        os.dup2(descriptor, target)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    sys.argv = [request["script"], *request["arguments"]]
    status = _exit_status(main)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(status)


def _exit_status(main: Callable[[], object]) -> int:
    try:
        code = main()
    except SystemExit as ended:
        code = ended.code
    except BaseException:
        traceback.print_exc()
        return 1
    if code is None or isinstance(code, int):
        return code or 0
    print(code, file=sys.stderr)
    return 1


if __name__ == "__main__":
    _serve(sys.argv[1])
