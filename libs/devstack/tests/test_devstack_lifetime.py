"""However the program ends, its servers end, and what was temporary is deleted."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

GONE_WITHIN_SECONDS = 30
PROGRAM = """\
import contextlib, json, os, signal, sys
from devstack import kafka, postgres

with contextlib.ExitStack() as stack:
    servers = [stack.enter_context(postgres(fsync=False))]
    if "kafka" in sys.argv:
        servers.append(stack.enter_context(kafka()))
    if "fork" in sys.argv and os.fork() == 0:
        os.setsid()
        signal.pause()
    print(json.dumps([str(server.folder) for server in servers]), flush=True)
    sys.stdin.read()
"""


class Running(NamedTuple):
    program: "subprocess.Popen[str]"
    folders: list[Path]
    processes: list[psutil.Process]

    def is_keeper(self, process: psutil.Process) -> bool:
        return any(part.endswith("keeper.py") for part in process.cmdline())


@pytest.fixture(autouse=True)
def _temporary_folders_below_the_tests_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))


@contextmanager
def running(*arguments: str) -> Iterator[Running]:
    """A program with a server, as a terminal would start it: leader of its own process group."""
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    with program:
        assert program.stdout is not None
        folders = [Path(folder) for folder in json.loads(program.stdout.readline())]
        processes = psutil.Process(program.pid).children(recursive=True)
        assert len(processes) >= 2 * len(folders)  # a keeper and a server each
        try:
            yield Running(program, folders, processes)
        finally:
            program.kill()
            for process in psutil.wait_procs(processes, timeout=GONE_WITHIN_SECONDS)[1]:
                with suppress(psutil.NoSuchProcess):
                    process.kill()


def assert_ended(processes: Sequence[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=GONE_WITHIN_SECONDS)
    assert alive == []


def assert_nothing_is_left(running: Running) -> None:
    assert_ended(running.processes)
    assert [folder for folder in running.folders if folder.exists()] == []


def kill_program(running: Running) -> None:
    running.program.kill()


def kill_process_group(running: Running) -> None:
    os.killpg(running.program.pid, signal.SIGKILL)


def terminate_program(running: Running) -> None:
    running.program.terminate()


def interrupt_process_group(running: Running) -> None:
    """What Ctrl-C in a terminal does."""
    os.killpg(running.program.pid, signal.SIGINT)


ENDS = [kill_program, kill_process_group, terminate_program, interrupt_process_group]


@pytest.mark.parametrize("end", ENDS)
def test_nothing_is_left_of_a_program_that_was_ended(end: Callable[[Running], None]) -> None:
    with running() as program:
        end(program)
        assert_nothing_is_left(program)


def test_nothing_is_left_although_all_servers_were_suspended() -> None:
    with running("kafka") as program:
        for process in program.processes:
            if not program.is_keeper(process):
                process.suspend()
        kill_program(program)
        assert_nothing_is_left(program)


def test_nothing_is_left_although_a_fork_holds_the_pipe_open() -> None:
    with running("fork") as program:
        keepers = [process for process in program.processes if program.is_keeper(process)]
        children = psutil.Process(program.program.pid).children()
        [fork] = [child for child in children if child not in keepers]
        kill_program(program)
        try:
            assert_nothing_is_left(
                program._replace(processes=[process for process in program.processes if process != fork])
            )
            assert fork.is_running()
        finally:
            fork.kill()


def test_servers_end_when_their_keepers_are_killed() -> None:
    """The data stays then, until the program ends."""
    with running("kafka") as program:
        keepers = [process for process in program.processes if program.is_keeper(process)]
        for keeper in keepers:
            keeper.kill()
        assert_ended([process for process in program.processes if process not in keepers])


def test_an_interrupt_in_the_terminal_reaches_no_server() -> None:
    """They must serve until the program has ended its own parts."""
    with running() as program:
        assert program.program.pid not in {os.getpgid(process.pid) for process in program.processes}
        assert program.program.pid not in {os.getsid(process.pid) for process in program.processes}
