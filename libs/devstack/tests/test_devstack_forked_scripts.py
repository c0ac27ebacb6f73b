"""Scripts that tests run in forks behave as from a shell."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from devstack.forked_scripts import ForkedScripts

PYTEST = str(Path(sys.executable).with_name("pytest"))
QUICK = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
SAYS_WHAT_IT_HAS = """\
import os, sys
def test_it():
    print(os.getpid(), os.environ["GIVEN"], sys.stdin.read(), "PATH" in os.environ)
    print("to stderr", file=sys.stderr)
    assert os.path.exists("test_it.py")
    sys.exit({status})
"""


def test_arguments_environment_folder_and_input_are_its_own(scripts: ForkedScripts, tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(SAYS_WHAT_IT_HAS.format(status="None"))
    arguments = ("-s", "test_it.py")
    found = [
        scripts.run("pytest", *arguments, env={**QUICK, "GIVEN": given}, timeout=60, input=b"from stdin", cwd=tmp_path)
        for given in ("one", "two")
    ]
    for given, done in zip(("one", "two"), found, strict=True):
        assert f" {given} from stdin False" in done.stdout, done.stdout
        assert "to stderr" in done.stderr
    assert len({done.stdout.partition(" one ")[0].partition(" two ")[0].split()[-1] for done in found}) == 2


@pytest.mark.parametrize("arguments", [("--version",), ("--no-such-option",), ("--co", "nowhere.py")])
def test_its_status_is_that_of_the_script(scripts: ForkedScripts, arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = scripts.run("pytest", *arguments, env=QUICK, timeout=60, cwd=tmp_path)
    from_a_shell = subprocess.run([PYTEST, *arguments], cwd=tmp_path, env=QUICK, capture_output=True, text=True)
    assert done.returncode == from_a_shell.returncode


def test_what_takes_too_long_is_killed(scripts: ForkedScripts, tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("import os, time\nprint(os.getpid(), file=open('pid', 'w'))\ntime.sleep(99)\n")
    with pytest.raises(subprocess.TimeoutExpired):
        scripts.run("pytest", "test_it.py", env=QUICK, timeout=5, cwd=tmp_path)
    pid = int((tmp_path / "pid").read_text())
    psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], timeout=10)
    assert not psutil.pid_exists(pid)
