import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import TypeVar

import asyncpg
import pytest
from devstack.databases import ServiceDatabase
from typer.testing import CliRunner, Result
from webapi.keys import (
    ApiKey,
    KeyRefused,
    KeyText,
    create,
    list_keys,
    lookup,
    new_key,
    parse_key,
)
from webapi.keys_cli import keys_app

T = TypeVar("T")
SCOPES = frozenset({"things:read", "things:write"})


async def test_what_is_stored_cannot_be_used(connection: asyncpg.Connection) -> None:
    key = new_key()
    await create(connection, key, "shop", SCOPES)
    stored = (await lookup(connection, [key.key_id]))[key.key_id]
    assert (stored.name, stored.scopes, stored.revoked_at) == ("shop", SCOPES, None)
    assert key.secret not in await connection.fetchval("SELECT api_key::text FROM api_key")


def test_keys_differ_and_can_be_read_back() -> None:
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(parse_key(str(key)) == key for key in keys)


@pytest.mark.parametrize("text", ["", "kc_abcd", "kc_abcd_short", "kc_ABCD_" + "0" * 64, "xx_abcd_" + "0" * 64])
def test_what_is_no_key(text: str) -> None:
    assert parse_key(text) is None


@pytest.mark.parametrize(
    ("name", "scopes"),
    [("", SCOPES), ("a b", SCOPES), ("a/b", SCOPES), ("shop", frozenset()), ("shop", frozenset({"everything"}))],
)
async def test_refused(connection: asyncpg.Connection, name: str, scopes: frozenset[str]) -> None:
    with pytest.raises(KeyRefused):
        await create(connection, new_key(), name, scopes)
    assert await list_keys(connection) == []


class Cli:
    def __init__(self, url: str) -> None:
        self._url = url

    def run(self, *arguments: str, **environment: str) -> Result:
        async def open_database() -> asyncpg.Connection:
            return await asyncpg.connect(self._url)

        return CliRunner().invoke(
            keys_app(open_database, {"things:read": "look", "things:write": "change"}), arguments, env=environment
        )

    def stored(self) -> list[ApiKey]:
        return self.query(list_keys)

    def query(self, query: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
        async def run() -> T:
            connection = await asyncpg.connect(self._url)
            try:
                return await query(connection)
            finally:
                await connection.close()

        return asyncio.run(run())


@pytest.fixture
def cli(database: ServiceDatabase) -> Cli:
    return Cli(database.app_url)


CREATE = ("create", "--name", "till", "--scope", "things:read", "--scope", "things:write")
DEVELOPMENT_KEY = KeyText("dev0", "d" * 32)


def test_create_prints_the_key_once(cli: Cli) -> None:
    result = cli.run(*CREATE)
    key = parse_key(result.stdout.strip())
    [stored] = cli.stored()
    assert result.exit_code == 0
    assert key is not None
    assert (stored.key_id, stored.name, stored.scopes) == (key.key_id, "till", SCOPES)
    listed = cli.run("list").stdout
    assert key.secret not in listed
    assert re.search(rf"{key.key_id} +till .* active +things:read things:write", listed)


def test_a_key_may_end(cli: Cli) -> None:
    assert cli.run(*CREATE, "--expires-in-days", "30").exit_code == 0
    [stored] = cli.stored()
    assert stored.expires_at is not None
    assert (stored.expires_at - stored.created_at).days in (29, 30)
    assert re.search(r"until \d{4}-\d\d-\d\d \d\d:\d\dZ", cli.run("list").stdout)
    assert cli.run(*CREATE, "--expires-in-days", "0").exit_code == 2


def test_a_scope_that_there_is_not_is_refused(cli: Cli) -> None:
    result = cli.run("create", "--name", "till", "--scope", "thing:read")
    assert (result.exit_code, result.stderr) == (
        1,
        "there is no scope thing:read; there are: things:read things:write\n",
    )
    assert cli.stored() == []


def test_revoke(cli: Cli) -> None:
    key = parse_key(cli.run(*CREATE).stdout.strip())
    assert key is not None
    assert cli.run("revoke", key.key_id).exit_code == 0
    assert cli.stored()[0].revoked_at is not None
    assert "revoked" in cli.run("list").stdout
    again = cli.run("revoke", key.key_id)
    assert (again.exit_code, again.stderr) == (1, f"there is no active key {key.key_id}\n")


def test_a_development_key_can_be_stored_again(cli: Cli) -> None:
    for scope in ("things:read", "things:write"):
        result = cli.run(
            "create", "--name", "dev", "--scope", scope, "--secret-env", "DEV_KEY", DEV_KEY=str(DEVELOPMENT_KEY)
        )
        assert (result.exit_code, result.stdout) == (0, "stored key dev0\n")
    [stored] = cli.stored()
    assert stored.scopes == {"things:write"}


@pytest.mark.parametrize("value", ["", "hunter2"])
def test_a_development_key_must_be_one(cli: Cli, value: str) -> None:
    result = cli.run(*CREATE, "--secret-env", "DEV_KEY", DEV_KEY=value)
    assert result.exit_code == 1
    assert result.stderr.startswith("DEV_KEY must hold kc_<id>_<secret>")
    assert cli.stored() == []


def test_neither_a_foreign_nor_a_revoked_key_is_taken_over(cli: Cli) -> None:
    store = (*CREATE, "--secret-env", "DEV_KEY")
    assert cli.run(*store, DEV_KEY=str(DEVELOPMENT_KEY)).exit_code == 0
    foreign = cli.run(*store, DEV_KEY=str(DEVELOPMENT_KEY._replace(secret="e" * 32)))
    assert (foreign.exit_code, foreign.stderr) == (1, "key id dev0 is taken by another or a revoked key\n")
    cli.run("revoke", "dev0")
    assert cli.run(*store, DEV_KEY=str(DEVELOPMENT_KEY)).exit_code == 1


def test_an_unreachable_database_is_one_line() -> None:
    result = Cli("postgresql://nobody@127.0.0.1:1/nothing").run("list")
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
