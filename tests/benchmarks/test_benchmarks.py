"""`make bench` works: a very short run measures something and writes all rows of the document. No time is judged."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
MEASURED = (
    "(a) 2 workers / (c)",
    "(a) 1 worker / (c)",
    "(a) 2 workers / (d)",
    "WAL bytes an event",
    "memory of a worker",
)
NOT_MEASURED = ("(b) 2 workers / (a)", "(e) / (a)", "(f) / (a)", "(g) p50", "(g) p99", "(h) / (a)")


def test_a_short_run_writes_every_row(tmp_path: Path) -> None:
    document = tmp_path / "benchmarks.md"
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", "--quick", "--only", "a,c,d", "--output", str(document)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line for line in document.read_text().splitlines() if line.startswith("| ")]
    for names, is_measured in ((MEASURED, True), (NOT_MEASURED, False)):
        for name in names:
            found = [row for row in rows if row.startswith(f"| {name}")]
            assert found, name
            assert all(("not measured" not in row) is is_measured for row in found), found
