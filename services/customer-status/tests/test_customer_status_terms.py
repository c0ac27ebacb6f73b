"""No process works by a programme whose past was edited: worker, HTTP process and commands, on a real database."""

import asyncio
import os
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import NamedTuple

import asyncpg
import pytest
from customer_status.terms.service import adopt, check
from devstack import ServiceDatabase
from eventing.commands import Refused
from eventing.failures import WorkerStopped
from programme.terms import Programme, parse_programme

PAST, FUTURE = "2020-01-01", "2098-01-01"


class Edition(NamedTuple):
    """A programme, and the folder of contracts that holds it."""

    folder: Path
    programme: Programme


@pytest.fixture
def edition(contracts: Path, tmp_path: Path) -> Callable[..., Edition]:
    """`edition("2020-01-01", silver=900)`: the shipped terms, again from that date, there with another threshold."""

    def edition(*later: str, silver: int = 1000) -> Edition:
        toml = (contracts / "programme.toml").read_text(encoding="utf-8")
        again = [toml[toml.rindex("[[terms]]") :].replace("2000-01-01", valid_from) for valid_from in later]
        blocks = [toml, *again]
        blocks[-1] = blocks[-1].replace("silver = 1000", f"silver = {silver}")
        folder = tmp_path / f"contracts-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        (folder / "programme.toml").write_text("".join(blocks), encoding="utf-8")
        (folder / "topics").symlink_to(contracts / "topics")
        return Edition(folder, parse_programme("".join(blocks)))

    return edition


async def kept(conn: asyncpg.Connection) -> dict[str, str]:
    rows = await conn.fetch("SELECT valid_from, content -> 'thresholds' ->> 'silver' AS silver FROM terms")
    return {str(row["valid_from"]): row["silver"] for row in rows}


async def test_a_start_keeps_the_terms_and_the_next_may_change_the_future(
    conn: asyncpg.Connection, edition: Callable[..., Edition]
) -> None:
    await adopt(conn, edition(FUTURE).programme)
    first = await conn.fetchval("SELECT first_used_at FROM terms WHERE valid_from = $1", date(2000, 1, 1))
    await adopt(conn, edition(FUTURE, silver=900).programme)
    assert await kept(conn) == {"2000-01-01": "1000", FUTURE: "900"}
    await adopt(conn, edition().programme)
    assert await kept(conn) == {"2000-01-01": "1000"}
    assert await conn.fetchval("SELECT first_used_at FROM terms WHERE valid_from = $1", date(2000, 1, 1)) == first


@pytest.mark.parametrize(
    ("later", "silver", "told"),
    [
        ((PAST,), 900, "terms valid from 2020-01-01 have begun: thresholds.silver was 1000 and is 900"),
        ((), 1000, "terms valid from 2020-01-01 have begun and are gone"),
        (("2010-01-01", PAST), 1000, "terms valid from 2010-01-01 were added after they had begun"),
    ],
)
async def test_an_edit_of_the_past_stops_a_process_and_changes_nothing(
    conn: asyncpg.Connection, edition: Callable[..., Edition], later: tuple[str, ...], silver: int, told: str
) -> None:
    await adopt(conn, edition(PAST).programme)
    before = await kept(conn)
    edited = edition(*later, silver=silver).programme
    with pytest.raises(WorkerStopped, match=told):
        await adopt(conn, edited)
    with pytest.raises(Refused, match=told):
        await check(conn, edited)
    assert await kept(conn) == before


async def test_a_command_keeps_nothing(conn: asyncpg.Connection, edition: Callable[..., Edition]) -> None:
    await check(conn, edition().programme)
    assert await kept(conn) == {}


async def test_a_number_of_a_newer_version_is_added_to_the_past(
    conn: asyncpg.Connection, edition: Callable[..., Edition]
) -> None:
    await adopt(conn, edition().programme)
    await conn.execute("UPDATE terms SET content = content - 'extension_days'")
    await adopt(conn, edition().programme)
    assert await conn.fetchval("SELECT content ->> 'extension_days' FROM terms") == "30"


@pytest.mark.parametrize("command", ["worker", "api", "state", "verify"])
async def test_processes_and_commands_end_with_1_and_one_line(
    conn: asyncpg.Connection,
    database: ServiceDatabase,
    kafka_broker: object,
    edition: Callable[..., Edition],
    command: str,
) -> None:
    await adopt(conn, edition().programme)
    settings = {
        "PATH": os.environ["PATH"],
        "CONTRACTS_DIR": str(edition(silver=900).folder),
        "KAFKA_BOOTSTRAP_SERVERS": getattr(kafka_broker, "bootstrap_servers", ""),
        "CUSTOMER_STATUS_DATABASE_URL": database.app_url,
        "CUSTOMER_STATUS_WORKER_METRICS_PORT": "0",
        "CUSTOMER_STATUS_ERASURE_KEY": "ee" * 32,
        "CUSTOMER_STATUS_METRICS_PORT": "0",
        "CUSTOMER_STATUS_HTTP_PORT": "0",
        "LOG_LEVEL": "ERROR",
    }
    script = Path(sys.executable).with_name("customer-status")
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(script, command, env=settings, stdout=pipe, stderr=pipe)
    output, errors = await asyncio.wait_for(process.communicate(), 60)
    assert (process.returncode, output) == (1, b"")
    [line] = errors.decode().splitlines()
    assert "the past cannot be edited: terms valid from 2000-01-01 have begun: thresholds.silver" in line
