"""A program of PostgreSQL's or Kafka's that does one thing and ends: initdb, StorageTool."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from devstack.errors import DevstackError
from devstack.keeper import clean_environment
from devstack.launch import launch_command

TIMEOUT_SECONDS = 120.0
OUTPUT_SHOWN = 2000


def run_to_end(command: Sequence[str], folder: Path, *, unprivileged: bool = False) -> None:
    """In `folder`. Raises DevstackError with the end of its output if it fails, or takes too long."""
    name = Path(command[0]).name
    try:
        done = subprocess.run(
            launch_command(command, unprivileged=unprivileged),
            cwd=folder,
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=TIMEOUT_SECONDS,
            start_new_session=True,
        )
    except subprocess.TimeoutExpired:
        raise DevstackError(f"{name} has not ended within {TIMEOUT_SECONDS:.0f} s") from None
    if done.returncode != 0:
        raise DevstackError(f"{name} failed:\n{done.stdout.strip()[-OUTPUT_SHOWN:]}")
