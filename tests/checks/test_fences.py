"""The fences of docs/architecture.md: import-linter's bite on broken trees, and two that it cannot express."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# What the mechanism and the HTTP library may not know.
DOMAIN_WORDS = re.compile(
    r"member_?id|purchase|voucher|reward|ledger|receipt|redeem|loyalty|customer|kundenclub|silver", re.IGNORECASE
)
NOT_PURE = {"asyncio", "os", "random", "secrets", "socket", "subprocess", "threading", "time", "uuid"}
CLOCK_READS = {"now", "today", "utcnow"}


def lint_imports(tree: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter with the repository's contracts on packages below `tree`."""
    script = Path(sys.executable).with_name("lint-imports")
    command = [str(script), "--config", str(ROOT / "pyproject.toml"), "--no-cache"]
    environment = os.environ | {"PYTHONPATH": str(tree)}
    return subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)


FORBIDDEN = [
    ("loyalty.feature.service", "customer_status"),
    ("customer_status.feature.store", "loyalty.feature.api"),
    ("loyalty.feature.api", "kundenclub"),
    ("loyalty.feature.api", "devstack"),
    ("eventing", "webapi"),
    ("webapi", "eventing"),
    ("eventing", "programme"),
    ("programme", "webapi"),
    ("devstack", "programme"),
    ("kundenclub_client", "loyalty"),
    ("kundenclub_client", "eventing"),
    ("loyalty.feature.domain", "loyalty.feature.store"),
    ("customer_status.feature.domain", "webapi"),
]


def make_packages(tree: Path) -> None:
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["root_packages"]
    for name in packages:
        write(tree / name / "__init__.py", "")
    for service in ("loyalty", "customer_status"):
        for module in ("__init__", "api", "service", "store", "domain"):
            write(tree / service / "feature" / f"{module}.py", "")


def test_sound_packages_pass(tmp_path: Path) -> None:
    make_packages(tmp_path)
    result = lint_imports(tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.fixture(scope="module")
def complaints(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What import-linter says about a tree with every forbidden import in it: one run, as each takes a second."""
    tree = tmp_path_factory.mktemp("broken")
    make_packages(tree)
    for module, imported in FORBIDDEN:
        path = tree.joinpath(*module.split("."))
        with (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).open("a") as file:
            file.write(f"import {imported}\n")
    result = lint_imports(tree)
    assert result.returncode == 1
    return result.stdout


@pytest.mark.parametrize(("module", "imported"), FORBIDDEN)
def test_a_forbidden_import_is_seen(module: str, imported: str, complaints: str) -> None:
    assert f" {module} -> {imported} (" in complaints


def impurities(source: Path) -> list[str]:
    """What in the programme is not the standard library or msgspec, does I/O of its own or asks for the time."""
    allowed = (sys.stdlib_module_names | {"msgspec", "programme"}) - NOT_PURE
    found = []
    for path in sorted(source.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_bytes())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or "programme"]
            elif isinstance(node, ast.Attribute) and node.attr in CLOCK_READS:
                found.append(f"{path.name}: .{node.attr}")
            found += [f"{path.name}: {name}" for name in names if name.split(".")[0] not in allowed]
    return found


def test_the_programme_is_pure() -> None:
    assert impurities(ROOT / "libs/programme/src") == []


@pytest.mark.parametrize(
    "line",
    [
        "import pydantic",
        "from loyalty.points import store",
        "import time",
        "from os import environ",
        "x = datetime.now()",
    ],
)
def test_an_impure_programme_is_seen(line: str, tmp_path: Path) -> None:
    write(
        tmp_path / "programme/sound.py",
        "from datetime import date\nimport msgspec\nfrom programme.terms import Terms\n",
    )
    assert impurities(tmp_path) == []
    write(tmp_path / "programme/broken.py", f"{line}\n")
    assert len(impurities(tmp_path)) == 1


def domain_words(source: Path) -> list[str]:
    return [
        f"{path.name}:{number} {match.group()}"
        for path in sorted(source.rglob("*.py"))
        for number, line in enumerate(path.read_text().splitlines(), 1)
        for match in DOMAIN_WORDS.finditer(line)
    ]


@pytest.mark.parametrize("library", ["eventing", "webapi"])
def test_mechanism_knows_no_domain_word(library: str) -> None:
    assert domain_words(ROOT / "libs" / library / "src") == []


def test_a_domain_word_is_seen(tmp_path: Path) -> None:
    write(tmp_path / "a.py", "def f(purchase_id: str) -> None: ...\n")
    assert domain_words(tmp_path) == ["a.py:1 purchase"]


def write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
