"""docs/promises.md names tests that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"`([\w/.-]+\.py)::(test_\w+)`")


def missing(text: str) -> list[str]:
    return [
        f"{file}::{test}"
        for file, test in NAMED.findall(text)
        if not (ROOT / file).is_file() or not re.search(rf"def {test}\(", (ROOT / file).read_text())
    ]


def test_every_promise_names_a_test_that_exists() -> None:
    text = (ROOT / "docs" / "promises.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("|") and not line.startswith(("|---", "| promise"))]
    assert [row for row in rows if not NAMED.search(row)] == []
    assert missing(text) == []


def test_a_promise_without_its_test_is_found() -> None:
    assert missing("`tests/test_end_to_end.py::test_that_nobody_wrote`, `tests/nowhere.py::test_x`") == [
        "tests/test_end_to_end.py::test_that_nobody_wrote",
        "tests/nowhere.py::test_x",
    ]
