"""docs/promises.md, docs/security.md and tests/README.md name tests that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"`([\w/.-]+\.py)::(test_\w+)`")
TABLE = re.compile(r"^\| \w+ \| held by \|\n\|---\|---\|\n((?:\|.*\n)+)", re.MULTILINE)
NOT_BUILT = "| not built: "


def missing(text: str) -> list[str]:
    return [
        f"{file}::{test}"
        for file, test in NAMED.findall(text)
        if not (ROOT / file).is_file() or not re.search(rf"def {test}\(", (ROOT / file).read_text())
    ]


def held_by_nothing(text: str) -> list[str]:
    """Rows of a table of what is held by which test that name none, and do not say that they are not built."""
    rows = [row for table in TABLE.findall(text) for row in table.splitlines()]
    assert rows, "no table of what is held by which test"
    return [row for row in rows if not NAMED.search(row) and NOT_BUILT not in row]


@pytest.mark.parametrize("document", ["docs/promises.md", "docs/security.md", "tests/README.md"])
def test_every_promise_and_every_edge_case_names_a_test_that_exists(document: str) -> None:
    text = (ROOT / document).read_text()
    assert held_by_nothing(text) == []
    assert missing(text) == []


def test_what_is_promised_is_built() -> None:
    assert NOT_BUILT not in (ROOT / "docs" / "promises.md").read_text()


def test_a_promise_without_its_test_is_found() -> None:
    assert missing("`tests/test_end_to_end.py::test_that_nobody_wrote`, `tests/nowhere.py::test_x`") == [
        "tests/test_end_to_end.py::test_that_nobody_wrote",
        "tests/nowhere.py::test_x",
    ]
    table = "| promise | held by |\n|---|---|\n| a | `tests/a.py::test_a` |\n| b | hope |\n| c | not built: yet |\n"
    assert held_by_nothing(table) == ["| b | hope |"]
