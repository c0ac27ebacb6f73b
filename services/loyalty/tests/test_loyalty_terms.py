"""No process works by a programme whose past was edited (rules 3.11)."""

import asyncio
import os
import sys
from pathlib import Path

import asyncpg
import pytest
from devstack import ServiceDatabase
from eventing.commands import Refused
from eventing.failures import WorkerStopped
from loyalty.terms.service import adopt, check
from programme.terms import Programme, parse_programme

CONTRACTS = Path(__file__).parents[3] / "contracts"
TOML = (CONTRACTS / "programme.toml").read_text(encoding="utf-8")
EDITED = TOML.replace("silver = 10\n", "silver = 11\n")
TOLD = "the past cannot be edited: terms valid from 2000-01-01 have begun: bonus_percent.silver was 10 and is 11"


@pytest.fixture
async def adopted(conn: asyncpg.Connection, programme: Programme) -> None:
    await adopt(conn, programme)


async def test_an_edit_of_the_past_is_refused_and_the_same_terms_are_not(
    conn: asyncpg.Connection, programme: Programme, adopted: None
) -> None:
    with pytest.raises(WorkerStopped, match=TOLD):
        await adopt(conn, parse_programme(EDITED))
    with pytest.raises(Refused, match=TOLD):
        await check(conn, parse_programme(EDITED))
    await adopt(conn, programme)
    await check(conn, programme)


@pytest.mark.parametrize("command", ["worker", "api", "state", "verify", "rebuild"])
async def test_processes_and_commands_end_with_1_and_one_line(
    command: str, database: ServiceDatabase, kafka_broker: object, tmp_path: Path, adopted: None
) -> None:
    (tmp_path / "programme.toml").write_text(EDITED, encoding="utf-8")
    (tmp_path / "topics").symlink_to(CONTRACTS / "topics")
    settings = {
        "PATH": os.environ["PATH"],
        "CONTRACTS_DIR": str(tmp_path),
        "KAFKA_BOOTSTRAP_SERVERS": getattr(kafka_broker, "bootstrap_servers", ""),
        "LOYALTY_DATABASE_URL": database.app_url,
        "LOYALTY_MIGRATIONS_DATABASE_URL": database.owner_url,
        "LOYALTY_VOUCHER_KEYS": "1:" + "42" * 32,
        "LOYALTY_ERASURE_KEY": "ee" * 32,
        "LOYALTY_WORKER_METRICS_PORT": "0",
        "LOYALTY_METRICS_PORT": "0",
        "LOYALTY_HTTP_PORT": "0",
        "LOG_LEVEL": "ERROR",
    }
    script, pipe = Path(sys.executable).with_name("loyalty"), asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(script, command, env=settings, stdout=pipe, stderr=pipe)
    output, errors = await asyncio.wait_for(process.communicate(), 60)
    assert (process.returncode, output) == (1, b"")
    [line] = errors.decode().splitlines()
    assert TOLD in line
