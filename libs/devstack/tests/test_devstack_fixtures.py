"""The pytest plugin's fixtures, as other packages use them."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest
from devstack import PostgresServer, ServiceDatabase

Factory = Callable[..., ServiceDatabase]


async def fetch(url: str, statement: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def test_owner_makes_tables_and_the_application_role_needs_a_grant(service_database: Factory) -> None:
    database = service_database("customer-status")
    await fetch(database.owner_url, "CREATE TABLE thing (id int)")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await fetch(database.app_url, "SELECT count(*) FROM thing")
    await fetch(database.owner_url, "GRANT SELECT ON thing TO customer_status_app")
    assert await fetch(database.app_url, "SELECT count(*) FROM thing") == 0


async def test_a_service_cannot_enter_the_database_of_another(service_database: Factory) -> None:
    ours, theirs = service_database("loyalty"), service_database("customer-status")
    stranger = ours.app_url.rpartition("/")[0] + "/" + theirs.app_url.rpartition("/")[2]
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await fetch(stranger, "SELECT 1")


async def test_prepared_once_copied_often(service_database: Factory) -> None:
    prepared: list[str] = []

    def prepare(database: ServiceDatabase) -> None:
        prepared.append(database.owner_url)
        asyncio.run(fetch(database.owner_url, "CREATE TABLE thing (id int)"))
        asyncio.run(fetch(database.owner_url, "GRANT INSERT, SELECT ON thing TO loyalty_app"))

    first, second = service_database("loyalty", prepare), service_database("loyalty", prepare)
    await fetch(first.app_url, "INSERT INTO thing VALUES (1)")
    assert await fetch(first.app_url, "SELECT count(*) FROM thing") == 1
    assert await fetch(second.app_url, "SELECT count(*) FROM thing") == 0
    assert len(prepared) == 1


USES_EXTERNAL_SERVERS = """\
def test_external(postgres_server, kafka_broker, service_database):
    assert postgres_server.url("x") == "{url}"
    assert kafka_broker.bootstrap_servers == "elsewhere:9092"
    for prepare in None, print:
        assert service_database("external", prepare).app_url.startswith("postgresql://external_app:")
"""


async def test_servers_named_by_the_environment_are_used_and_left_clean(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    (tmp_path / "test_external.py").write_text(USES_EXTERNAL_SERVERS.format(url=postgres_server.url("x")))
    servers = {
        "DEVSTACK_POSTGRES_URL": postgres_server.url(),
        "DEVSTACK_KAFKA_BOOTSTRAP_SERVERS": "elsewhere:9092",
    }
    command = [sys.executable, "-m", "pytest", "-p", "devstack.pytest_plugin", "--rootdir", str(tmp_path)]
    done = await asyncio.to_thread(
        subprocess.run, command, cwd=tmp_path, env=os.environ | servers, capture_output=True, text=True
    )
    assert "1 passed" in done.stdout, done.stdout
    left = "SELECT count(*) FROM pg_database WHERE datname LIKE 'external%'"
    assert await fetch(postgres_server.url(), left) == 0
