"""The embedded PostgreSQL by itself; fixtures that share one are tested in test_devstack_fixtures.py."""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest
from devstack import DevstackError, PostgresServer, folders, postgres
from devstack import server as server_module
from devstack.ports import HOST, PortTaken, free_port


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with postgres(fsync=False) as running:
        yield running


async def fetch(server: PostgresServer, statement: str) -> object:
    connection = await asyncpg.connect(server.url(), timeout=10)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close(timeout=10)


async def test_is_version_18_in_utf8_sorted_by_code_point(server: PostgresServer) -> None:
    assert str(await fetch(server, "SHOW server_version")).startswith("18.")
    assert await fetch(server, "SHOW server_encoding") == "UTF8"
    assert await fetch(server, "SELECT 'B' < 'a' AND 'z' < 'ä'") is True


async def test_asks_for_a_password(server: PostgresServer) -> None:
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(host=server.host, port=server.port, user="postgres", password="wrong")


async def test_two_at_once(server: PostgresServer) -> None:
    with postgres(fsync=False) as other:
        identifier = "SELECT system_identifier FROM pg_control_system()"
        assert await fetch(server, identifier) != await fetch(other, identifier)


async def test_stopped_and_temporary_data_deleted_on_exit() -> None:
    with postgres(fsync=False) as server:
        assert server.pid is not None
        processes = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
        folder = server.folder
    assert not any(process.is_running() for process in processes)
    assert not folder.exists()


async def test_killed_and_restarted_it_has_what_was_committed_at_the_same_address() -> None:
    with postgres() as server:
        url = server.url()
        await fetch(server, "CREATE TABLE kept AS SELECT 42 AS answer")
        await asyncio.to_thread(server.kill)
        assert server.pid is None
        with pytest.raises(ConnectionRefusedError):
            await fetch(server, "SELECT 1")
        await asyncio.to_thread(server.restart)
        assert server.url() == url
        assert await fetch(server, "SELECT answer FROM kept") == 42


async def test_kept_data_reopened(tmp_path: Path) -> None:
    with postgres(tmp_path / "data") as server:
        await fetch(server, "CREATE TABLE kept AS SELECT 42 AS answer")
    with postgres(tmp_path / "data") as server:
        assert await fetch(server, "SELECT answer FROM kept") == 42


async def test_interrupted_setup_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "pgdata.unfinished").mkdir()
    (tmp_path / "pgdata.unfinished" / "PG_VERSION").write_text("18\n")
    with postgres(tmp_path, fsync=False) as server:
        assert await fetch(server, "SELECT 1") == 1


async def test_suspended_it_accepts_nothing_and_resumes(server: PostgresServer) -> None:
    server.suspend()
    try:
        with pytest.raises(TimeoutError):
            await asyncpg.connect(server.url(), timeout=0.3)
    finally:
        server.resume()
    assert await fetch(server, "SELECT 1") == 1


def test_a_second_program_cannot_use_the_same_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "LOCK_WAIT_SECONDS", 0.2)
    with postgres(tmp_path, fsync=False), pytest.raises(DevstackError, match="in use by another program"):
        postgres(tmp_path).__enter__()


def test_a_failed_start_shows_the_end_of_the_log() -> None:
    with pytest.raises(DevstackError, match='invalid value for parameter "shared_buffers": "plenty"'):
        postgres(shared_buffers="plenty").__enter__()


def test_a_folder_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DevstackError, match="Not a directory"):
        postgres(tmp_path / "file" / "data").__enter__()


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server((HOST, free_port())) as listener:
        yield listener.getsockname()[1]


def test_a_port_taken_meanwhile_is_exchanged(taken_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    offered = iter([taken_port, good := free_port()])
    monkeypatch.setattr(server_module, "free_port", lambda: next(offered))
    with postgres(fsync=False) as server:
        assert server.port == good


def test_a_fixed_port_that_is_taken_is_an_error(taken_port: int) -> None:
    with pytest.raises(PortTaken, match=str(taken_port)):
        postgres(port=taken_port, fsync=False).__enter__()
