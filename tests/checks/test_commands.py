"""The commands that README and CONTRIBUTING name are there, and CI runs the same one as a person."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def targets(makefile: str) -> set[str]:
    """Return the targets that are meant for people: those that a recipe and a help text follow."""
    return set(re.findall(r"^([a-z]+):.* ## \S", makefile, re.MULTILINE))


def commands(text: str) -> set[str]:
    return set(re.findall(r"`make ([a-z]+)`", text))


def make(*arguments: str, folder: Path = ROOT, **more: str) -> str:
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ} | more
    result = subprocess.run(
        ["make", *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    return result.stdout


def test_make_alone_prints_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    [phony] = re.findall(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    assert set(phony.split()) == targets(makefile) == set(re.findall(r"make ([a-z]+)", make()))


@pytest.mark.parametrize("document", sorted(ROOT.glob("*.md")), ids=lambda path: path.name)
def test_documents_name_only_commands_that_are_there(document: Path) -> None:
    assert commands(document.read_text()) <= targets((ROOT / "Makefile").read_text())


def test_a_command_that_is_not_there_is_seen() -> None:
    assert commands("Run `make coffee`.") - targets("tea: pot ## brew\n\t@true\n") == {"coffee"}


def test_ci_runs_what_people_run() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & stat.S_IXUSR
    assert re.findall(r"^exec (.+)$", script.read_text(), re.MULTILINE) == ["make test"]


def test_without_uv_one_is_fetched_by_pip_alone(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    plan = make("--dry-run", "setup", "UV=.tools/bin/uv", folder=tmp_path)
    steps = ["python3 -m venv .tools", "pip install --quiet --disable-pip-version-check 'uv==", '".tools/bin/uv" sync']
    found = [plan.find(step) for step in steps]
    assert -1 not in found
    assert found == sorted(found)


def test_a_uv_that_is_there_is_used(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    assert "venv" not in make("--dry-run", "setup", "UV=uv", folder=tmp_path)


def test_what_python_compiled_is_kept_whatever_the_callers_shell_says() -> None:
    """Otherwise the whole test run takes half as long again: each of its many processes compiles what it imports."""
    said = make("--eval", "said: ; @env", "said", PYTHONDONTWRITEBYTECODE="1", OTHER="1")
    assert "OTHER=1" in said
    assert "PYTHONDONTWRITEBYTECODE" not in said
