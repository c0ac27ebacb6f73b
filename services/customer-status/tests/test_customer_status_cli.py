"""The command line, as an operator calls it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import pytest
from customer_status.cli import app
from devstack import ServiceDatabase
from eventing.database import close, connect
from typer.testing import CliRunner

DAY = "2026-03-{:02}T10:00:00Z"
Run = Callable[..., "Done"]


class Done(NamedTuple):
    status: int
    output: str
    errors: str


@pytest.fixture
def run(tmp_path: Path, contracts: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`run("state", "--at", ..., DATABASE_URL=...)`: the command with nothing but these settings, in a thread."""
    for name in [name for name in os.environ if name.startswith(("CUSTOMER_STATUS_", "KAFKA_"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, **settings: str) -> Done:
        environment = {"CONTRACTS_DIR": settings.pop("CONTRACTS_DIR", str(contracts))}
        environment |= {f"CUSTOMER_STATUS_{name}": value for name, value in settings.items()}
        with ThreadPoolExecutor(1) as pool:  # a command runs a loop of its own
            done = pool.submit(CliRunner().invoke, app, arguments, env=environment).result(timeout=60)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Done(done.exit_code, done.stdout, done.stderr)

    return run


async def test_state_prints_a_line_a_member_sorted_by_bytes(run: Run, database: ServiceDatabase, feed: Any) -> None:
    await feed(feed.joined("b", DAY.format(20)), feed.joined("Z", DAY.format(1)))
    await feed(feed.purchase("a", "p1", DAY.format(5), 100_000), feed.purchase("_", "p2", DAY.format(10), 100))
    await feed.returned("-", "r1", DAY.format(15), of="p1", complete=True)

    def lines(*arguments: str) -> list[dict[str, Any]]:
        done = run("state", *arguments, DATABASE_URL=database.app_url)
        assert (done.status, done.errors) == (0, "")
        return [json.loads(line) for line in done.output.splitlines()]

    everyone = lines()
    assert [state["member_id"] for state in everyone] == ["-", "Z", "_", "a", "b"]
    assert list(everyone[0]) == ["member_id", "level", "timeline", "purchases", "digest"]
    assert [state["purchases"] for state in everyone] == [0, 0, 1, 1, 0]
    assert [state["member_id"] for state in lines("--at", DAY.format(4))] == ["Z"]
    before, then, after = (lines("--at", at) for at in ("2026-03-05T09:59:59Z", DAY.format(5), DAY.format(6)))
    assert [state["member_id"] for state in before] == ["Z"]
    assert [(state["member_id"], state["level"]) for state in then] == [("Z", "basis"), ("a", "basis")]
    assert [(state["member_id"], state["level"]) for state in after] == [("Z", "basis"), ("a", "silver")]


async def test_state_at_leaves_later_returns_out(run: Run, database: ServiceDatabase, feed: Any) -> None:
    await feed.bought("a", "p1", DAY.format(5), 100_000)
    await feed.returned("a", "r1", DAY.format(15), of="p1", complete=True)
    now, earlier = (
        json.loads(run("state", *arguments, DATABASE_URL=database.app_url).output)
        for arguments in ((), ("--at", DAY.format(14)))
    )
    assert [step["after"] for step in now["timeline"]] == [None, DAY.format(5), DAY.format(15)]
    assert [step["after"] for step in earlier["timeline"]] == [None, DAY.format(5), "2027-03-04T23:00:00Z"]
    assert now["digest"] != earlier["digest"]


@pytest.mark.parametrize("command", ["state", "verify", "migrate", "api", "worker"])
def test_missing_settings_are_one_clear_line_each(run: Run, command: str) -> None:
    done = run(command, **({"DATABASE_URL": "postgresql://x"} if command == "verify" else {}))
    assert done.status == 2
    lines = done.errors.splitlines()
    assert ("KAFKA_BOOTSTRAP_SERVERS" if command == "verify" else "CUSTOMER_STATUS_DATABASE_URL") + ": not set" in lines
    assert all(line.endswith(": not set") for line in lines)


def test_contracts_that_are_not_there_are_told(run: Run) -> None:
    done = run("state", CONTRACTS_DIR="elsewhere", DATABASE_URL="postgresql://x")
    assert (done.status, done.output) == (1, "")
    assert done.errors == "elsewhere/programme.toml: No such file or directory\n"


def test_the_console_script_is_there() -> None:
    script = Path(sys.executable).with_name("customer-status")
    done = subprocess.run([script, "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert all(name in done.stdout for name in ("migrate", "api", "worker", "verify", "state", "keys", "dead-letters"))


@pytest.mark.parametrize(
    ("arguments", "settings", "status"),
    [
        (("state",), {"DATABASE_URL": "postgresql://nobody:x@127.0.0.1:1/x"}, 1),
        (("state", "--at", "yesterday"), {"DATABASE_URL": "postgresql://nobody:x@127.0.0.1:1/x"}, 2),
        (("state",), {"DATABASE_URL": "mysql://x"}, 2),
        (
            ("migrate",),
            {
                "DATABASE_URL": "postgresql://nobody:x@127.0.0.1:1/x",
                "MIGRATIONS_DATABASE_URL": "postgresql://nobody:x@127.0.0.1:1/x",
            },
            1,
        ),
        (("keys", "list"), {"DATABASE_URL": "postgresql://nobody:x@127.0.0.1:1/x"}, 1),
        (("partitions", "list"), {"DATABASE_URL": "postgresql://nobody:x@127.0.0.1:1/x"}, 1),
    ],
)
def test_what_an_operator_can_mend_is_told_without_a_stack_trace(
    arguments: tuple[str, ...], settings: dict[str, str], status: int, run: Run
) -> None:
    done = run(*arguments, **settings)
    assert done.status == status, done.errors
    assert done.errors
    assert "Traceback" not in done.errors


def test_migrate_makes_a_database_usable(run: Run, service_database: Callable[..., ServiceDatabase]) -> None:
    empty = service_database("customer-status")
    unmigrated = run("state", DATABASE_URL=empty.app_url)
    assert (unmigrated.status, len(unmigrated.errors.splitlines())) == (1, 1)
    done = run("migrate", DATABASE_URL=empty.app_url, MIGRATIONS_DATABASE_URL=empty.owner_url)
    assert done.status == 0, done.errors
    used = run("state", DATABASE_URL=empty.app_url)
    assert (used.status, used.output) == (0, "")


async def test_keys_and_dead_letters_are_mounted(
    run: Run, database: ServiceDatabase, conn: asyncpg.Connection, feed: Any
) -> None:
    made = run("keys", "create", "--name", "shop", "--scope", "members:read", DATABASE_URL=database.app_url)
    assert made.output.startswith("kc_")
    await feed(feed.purchase("M1", "p1", DAY.format(1), 1), feed.purchase("M1", "p1", DAY.format(1), 2))
    listed = run("dead-letters", "list", DATABASE_URL=database.app_url)
    assert "conflict" in listed.output


async def test_a_migration_does_not_queue_behind_a_long_lock(run: Run, database: ServiceDatabase) -> None:
    """Whoever comes after a waiting migration would wait too, so it gives up."""
    owner = await connect(database.owner_url, application_name="tests")
    async with owner.transaction():
        await owner.execute("LOCK TABLE alembic_version")
        done = run("migrate", DATABASE_URL=database.app_url, MIGRATIONS_DATABASE_URL=database.owner_url)
    await close(owner)
    assert done.status == 1
    assert "lock timeout" in done.errors
