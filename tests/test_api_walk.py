"""docs/api.md is run, command by command, and its answers are those of the running system."""

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/api.md"
BLOCK = re.compile(r"^```(sh|http)\n(.*?)^```", re.DOTALL | re.MULTILINE)
VARIABLE = re.compile(r"\$([A-Z_]+)")
# The commands as they are, but telling the status on a line of its own, and `uv run` without installing anything.
PRELUDE = """
curl() { command curl --silent --max-time 20 --write-out '\\n%{http_code}' "$@"; }
uv() { shift; "$@"; }
set -eu
"""
EVENTUALLY_SECONDS = 60.0

pytestmark = pytest.mark.asyncio(loop_scope="session")


class Step(NamedTuple):
    """A command and what it answers: status and body; None: nothing is said of it."""

    command: str
    status: int | None
    body: Any


def steps(page: str) -> list[Step]:
    found: list[Step] = []
    for language, text in BLOCK.findall(page):
        if language == "sh":
            found.append(Step(text, None, None))
        else:
            status, _, body = text.partition("\n")
            assert found[-1].status is None, f"two answers to {found[-1].command}"
            found[-1] = Step(found[-1].command, int(status), json.loads(body))
    return found


def differences(expected: Any, given: Any, variables: dict[str, str], where: str = "") -> list[str]:
    """What of `expected` is not in `given`. "..." is anything; "$NAME" is remembered, and then compared."""
    if expected == "...":
        return []
    if isinstance(expected, str) and (named := VARIABLE.fullmatch(expected)):
        wanted = variables.setdefault(named[1], given)
        return [] if wanted == given else [f"{where}: {given!r} is not {wanted!r}"]
    if isinstance(expected, dict) and isinstance(given, dict):
        found = [f"{where}/{name}: not there" for name in expected.keys() - given.keys()]
        both = expected.keys() & given.keys()
        return found + [
            why for name in both for why in differences(expected[name], given[name], variables, f"{where}/{name}")
        ]
    if isinstance(expected, list) and isinstance(given, list) and len(given) >= len(expected):
        pairs = enumerate(zip(expected, given, strict=False))
        return [why for n, (one, other) in pairs for why in differences(one, other, variables, f"{where}/{n}")]
    return [] if expected == given and type(expected) is type(given) else [f"{where}: {given!r} is not {expected!r}"]


class Shell:
    """Runs the commands in one folder, with what the answers so far have told."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self.environment = environment
        self.variables: dict[str, str] = {}
        self.folder = folder

    def run(self, command: str) -> str:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-c", PRELUDE + command],
            env={**os.environ, **self.environment, **self.variables, "PATH": path, "NO_PROXY": "*"},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def complaints(self, step: Step) -> list[str]:
        answer, _, status = self.run(step.command).rpartition("\n")
        told = dict(self.variables)
        found = differences(step.body, json.loads(answer), told)
        if int(status) != step.status:
            found.insert(0, f"{status} is not {step.status}: {answer}")
        if not found:
            self.variables = told
        return found

    def follow(self, step: Step) -> None:
        """Raises AssertionError where the answer is another one; what only reads is asked until the event was read."""
        if step.status is None:
            self.run(step.command)
            return
        deadline = time.monotonic() + EVENTUALLY_SECONDS
        changes = re.search(r" -d | -X ", step.command) and "/check" not in step.command
        while found := self.complaints(step):
            assert not changes, f"{step.command}\n{found}"
            assert time.monotonic() < deadline, f"{step.command}\n{found}"
            time.sleep(0.1)


async def test_the_page_is_true(system: Any, tmp_path: Path) -> None:
    page = PAGE.read_text().replace("M0001234", "walk-M0001234")
    shell = Shell(dict(system.environment), tmp_path)
    for step in steps(page):
        await asyncio.to_thread(shell.follow, step)
    assert {"CODE", "SECOND_CODE", "VOUCHER_ID", "CURSOR"} <= shell.variables.keys()
    await asyncio.to_thread(system.settle)


@pytest.mark.parametrize(
    ("expected", "given"),
    [
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {}),
        ({"a": 1}, {"a": "1"}),
        ({"a": True}, {"a": 1}),
        ([1, 2], [1]),
        ({"a": "$A", "b": "$A"}, {"a": 1, "b": 2}),
    ],
)
async def test_another_answer_is_seen(expected: Any, given: Any) -> None:
    assert differences(expected, given, {})


async def test_the_table_has_every_code_of_a_checkout() -> None:
    """And none that does not exist."""
    table = set(
        re.findall(r"`([a-z_]+)`", " ".join(re.findall(r"^\| \d{3} \|([^|]*)\|", PAGE.read_text(), re.MULTILINE)))
    )
    everywhere, needed = set(), set()
    for path in sorted((ROOT / "contracts/openapi").glob("*.json")):
        for item in json.loads(path.read_text())["paths"].values():
            for operation in item.values():
                codes = set(re.findall(r"`([a-z_]+)`: ", json.dumps(operation["responses"])))
                everywhere |= codes
                staff = {"adjustments:write", "members:erase", "operations:read"}
                if path.stem == "loyalty" and not staff & set(operation["security"][0]["bearer"]):
                    needed |= codes
    assert needed - table == set()
    assert table - everywhere == set()


async def test_the_readme_of_the_client_is_true(system: Any, tmp_path: Path) -> None:
    event = {
        "type": "kundenclub.purchase.completed.v1",
        "data": {
            "purchase_id": "client-1",
            "member_id": "client-1",
            "occurred_at": "2026-11-01T10:15:30+01:00",
            "currency": "EUR",
            "lines": [{"product_class": "goods", "amount_cents": 150_000}],
        },
    }
    await asyncio.to_thread(system.publish, [event])
    await asyncio.to_thread(system.settle)
    [code] = re.findall(r"```python\n(.*?)```", (ROOT / "libs/client/README.md").read_text(), re.DOTALL)
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-W", "error", "-c", code],
        env=os.environ | system.environment | {"MEMBER_ID": "client-1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "silver, 1500 points, 10 % more on purchases",
        "this basket earns 34 points",
        "let the customer look at the code again",
    ]
