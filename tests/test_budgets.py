"""The repository's own rules that no linter knows. Each is shown to bite on a small broken tree."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

FUNCTION_LINES = 70
FILE_LINES = 300
TEST_FILE_LINES = 500

VAGUE_NAME = re.compile(r"(^|_)(utils?|helpers?|common|misc|managers?|processors?)$")
COMMIT = re.compile(r"\bcommit\(")
LEDGER_CHANGE = re.compile(
    r"\b(update|delete\s+from|truncate(\s+table)?)\s+(only\s+)?(\w+\.)?\"?ledger_entry\b", re.IGNORECASE
)
# In parts, so that this file does not hold what it forbids.
REGISTRIES = [
    ".".join(parts)
    for parts in [
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("crates", "io"),
        ("registry.npmjs", "org"),
        ("proxy.golang", "org"),
        ("repo1.maven", "org"),
        ("repo.maven.apache", "org"),
        ("deb.debian", "org"),
        ("security.debian", "org"),
    ]
]
ADDRESS = re.compile("|".join([*map(re.escape, REGISTRIES), r"/(home|Users|root|work)/\w"]))

Rule = Callable[[Path], list[str]]


def files(root: Path, suffix: str = "") -> list[Path]:
    """Return, relative to `root`, what git knows or would add; outside a repository every file."""
    if (root / ".git").exists():
        listing = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        command = ["git", "-c", "safe.directory=*", *listing]
        listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout
        paths = [Path(name) for name in listed.split("\0") if name]
    else:
        paths = [path.relative_to(root) for path in root.rglob("*")]
    return sorted(path for path in paths if path.name.endswith(suffix) and (root / path).is_file())


def matches(root: Path, paths: Iterable[Path], expression: re.Pattern[str]) -> list[str]:
    found = []
    for path in paths:
        text = (root / path).read_bytes().decode(errors="replace")
        for match in expression.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            found.append(f"{path}:{line} {match.group()}")
    return found


def long_functions(root: Path) -> list[str]:
    found = []
    for path in files(root, ".py"):
        for node in ast.walk(ast.parse((root / path).read_bytes())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_LINES:
                    found.append(f"{path}:{node.lineno} {node.name}: {lines} lines")
    return found


def long_files(root: Path) -> list[str]:
    found = []
    for path in files(root, ".py"):
        limit = TEST_FILE_LINES if "tests" in path.parts else FILE_LINES
        lines = len((root / path).read_bytes().splitlines())
        if lines > limit:
            found.append(f"{path}: {lines} lines, at most {limit}")
    return found


def vague_names(root: Path) -> list[str]:
    paths = files(root, ".py")
    return [str(path) for path in paths if any(map(VAGUE_NAME.search, path.with_suffix("").parts))]


def commits_below_the_edge(root: Path) -> list[str]:
    """A request or batch is one transaction, committed where it began: never in a service or a store."""
    paths = [path for path in files(root, ".py") if path.name in ("service.py", "store.py")]
    return matches(root, paths, COMMIT)


def changed_ledger_entries(root: Path) -> list[str]:
    """Ledger entries are only ever added."""
    paths = [path for path in files(root, ".py") if path.parts[0] == "services" and "src" in path.parts]
    return matches(root, paths, LEDGER_CHANGE)


def machine_addresses(root: Path) -> list[str]:
    """Neither the hosts packages come from nor anybody's home folder belong into the repository."""
    return matches(root, files(root), ADDRESS)


RULES: list[Rule] = [
    long_functions,
    long_files,
    vague_names,
    commits_below_the_edge,
    changed_ledger_entries,
    machine_addresses,
]


@pytest.mark.parametrize("rule", RULES)
def test_the_repository_keeps_its_rules(rule: Rule) -> None:
    assert rule(ROOT) == []


BROKEN: list[tuple[Rule, str, str]] = [
    (long_functions, "a.py", "def f():\n" + "    x = 1\n" * FUNCTION_LINES),
    (long_functions, "a.py", "class A:\n    async def f(self):\n" + "        x = 1\n" * FUNCTION_LINES),
    (long_files, "src/a.py", "x = 1\n" * (FILE_LINES + 1)),
    (long_files, "tests/test_a.py", "x = 1\n" * (TEST_FILE_LINES + 1)),
    (vague_names, "src/utils.py", ""),
    (vague_names, "src/test_helpers.py", ""),
    (vague_names, "src/common/a.py", ""),
    (vague_names, "src/voucher_manager.py", ""),
    (commits_below_the_edge, "src/points/store.py", "await conn.commit()\n"),
    (commits_below_the_edge, "src/points/service.py", "session.commit()\n"),
    (changed_ledger_entries, "services/a/src/a/store.py", "Q = 'UPDATE ledger_entry SET points = 0'\n"),
    (changed_ledger_entries, "services/a/src/a/store.py", "Q = '''\ndelete\n from only x.ledger_entry'''\n"),
    (changed_ledger_entries, "services/a/src/a/store.py", "Q = 'truncate table ledger_entry'\n"),
    (machine_addresses, "docs/a.md", "https://" + REGISTRIES[0] + "/simple\n"),
    (machine_addresses, "a.cfg", "path = /" + "home/anna/kundenclub\n"),
]


@pytest.mark.parametrize(("rule", "name", "content"), BROKEN)
def test_every_rule_bites(rule: Rule, name: str, content: str, tmp_path: Path) -> None:
    write(tmp_path / name, content)
    assert len(rule(tmp_path)) == 1


SOUND = [
    ("a.py", "def f():\n" + "    x = 1\n" * (FUNCTION_LINES - 1)),
    ("src/communication.py", "x = 1\n" * FILE_LINES),
    ("tests/test_a.py", "x = 1\n" * TEST_FILE_LINES),
    ("src/main.py", "connection.commit()\n"),
    ("services/a/src/a/store.py", "Q = 'UPDATE account SET points = 0 -- as ledger_entry says'\n"),
    ("services/a/tests/test_a.py", "Q = 'DELETE FROM ledger_entry'\n"),
]


@pytest.mark.parametrize(("name", "content"), SOUND)
def test_no_rule_bites_what_is_allowed(name: str, content: str, tmp_path: Path) -> None:
    write(tmp_path / name, content)
    assert [rule(tmp_path) for rule in RULES] == [[]] * len(RULES)


def test_every_rule_has_a_broken_tree() -> None:
    assert {rule for rule, _, _ in BROKEN} == set(RULES)


def test_what_git_ignores_is_not_looked_at(tmp_path: Path) -> None:
    """Build output and private settings may hold what the repository may not."""
    write(tmp_path / "private.env", "x")
    assert files(tmp_path) == [Path("private.env")]
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    write(tmp_path / ".gitignore", "*.env\n")
    assert files(tmp_path) == [Path(".gitignore")]


def write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
