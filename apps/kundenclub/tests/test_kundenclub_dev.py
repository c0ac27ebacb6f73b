"""`kundenclub dev`, whole: it comes up, puts up a process that died, and leaves nothing running however it ends."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
from kundenclub.environment import read_env_file
from kundenclub.processes import script_path

ROOT = Path(__file__).parents[3]
START_TIMEOUT_S = 150.0
END_TIMEOUT_S = 60.0
PROGRAM = """
import sys
from pathlib import Path
from rich.console import Console
from kundenclub.dev import dev
from kundenclub.environment import free_ports
dev(contracts=Path(sys.argv[1]), keep=False, console=Console(), folder=Path(sys.argv[2]), ports=free_ports())
"""


def _until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} within {seconds:.0f} s"
        time.sleep(0.1)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


@contextmanager
def _running(folder: Path, said: str = "Kunden-Club runs") -> Iterator[tuple["subprocess.Popen[bytes]", Path]]:
    output = folder / "output"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(ROOT / "contracts"), str(folder / "dev")], stdout=file, stderr=file
        )
    try:
        _until(lambda: said in output.read_text() or process.poll() is not None, START_TIMEOUT_S, "up")
        assert process.poll() is None, output.read_text()
        yield process, output
    finally:
        process.kill()
        process.wait()


def _below(process: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def test_a_process_that_dies_is_started_again_and_sigterm_ends_everything(tmp_path: Path) -> None:
    with _running(tmp_path) as (process, output):
        environment = read_env_file(tmp_path / "dev" / "env")
        [api] = [child for child in _below(process) if child.cmdline()[-2:] == [script_path("loyalty"), "api"]]
        api.kill()
        _until(lambda: b"loyalty-api ended (SIGKILL); starting it again" in output.read_bytes(), 30.0, "it is said")
        _until(lambda: _answers(environment["LOYALTY_URL"]), START_TIMEOUT_S, "it answers again")
        assert _answers(environment["CUSTOMER_STATUS_URL"])
        assert _end(process, signal.SIGTERM) == 0
        assert "Traceback" not in output.read_text()
        assert not (tmp_path / "dev" / "env").exists()


def test_kill_9_leaves_nothing_running(tmp_path: Path) -> None:
    with _running(tmp_path) as (process, _):
        assert _end(process, signal.SIGKILL) == -signal.SIGKILL


def test_ctrl_c_while_it_starts_leaves_nothing_running(tmp_path: Path) -> None:
    with _running(tmp_path, "creating topics") as (process, output):
        _until(lambda: any("migrate" in child.cmdline() for child in _below(process)), 30.0, "migrations run")
        assert _end(process, signal.SIGINT) == 0
        assert "Traceback" not in output.read_text()


def _end(process: "subprocess.Popen[bytes]", number: signal.Signals) -> int:
    """The exit status, once the process and all that it had started are gone."""
    started = _below(process)
    assert started
    process.send_signal(number)
    code = process.wait(END_TIMEOUT_S)
    _, alive = psutil.wait_procs(started, timeout=END_TIMEOUT_S)
    assert not alive
    return code
