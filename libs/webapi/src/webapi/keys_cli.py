"""The commands `create`, `list` and `revoke` of a service's API keys."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import asyncpg
import typer

from webapi.keys import ApiKey, KeyRefused, KeyText, create, list_keys, new_key, parse_key, revoke

if TYPE_CHECKING:  # commands import this module, and shall not wait for FastAPI
    from webapi.database import Connection

Result = TypeVar("Result")
OpenDatabase = Callable[[], Awaitable["Connection"]]


def keys_app(open_database: OpenDatabase, scopes: Mapping[str, str]) -> typer.Typer:
    """The commands, over a connection of the service's database; `scopes` says what each scope allows."""
    app = typer.Typer(no_args_is_help=True, help="API keys of this service.")
    listed = "; ".join(f"{scope}: {allows}" for scope, allows in scopes.items())

    @app.command("create")
    def create_key(
        name: Annotated[str, typer.Option(help="the client; all its keys carry the same name")],
        scope: Annotated[list[str], typer.Option(help=f"what it may do; repeat for more. {listed}")],
        expires_in_days: Annotated[int | None, typer.Option(min=1, max=3650, help="none: until it is revoked")] = None,
        secret_env: Annotated[
            str | None,
            typer.Option(help="for development: store the key that this environment variable holds"),
        ] = None,
    ) -> None:
        """Make a key and print it, once."""
        unknown = sorted(set(scope) - scopes.keys())
        if unknown:
            _fail(f"there is no scope {' '.join(unknown)}; there are: {' '.join(scopes)}")
        key = new_key() if secret_env is None else _imported(secret_env)
        expires_at = None if expires_in_days is None else datetime.now(UTC) + timedelta(days=expires_in_days)
        _with(open_database, lambda connection: create(connection, key, name, frozenset(scope), expires_at))
        typer.echo(str(key) if secret_env is None else f"stored key {key.key_id}")

    @app.command("list")
    def show_keys() -> None:
        """List all keys, without their secrets."""
        for key in _with(open_database, list_keys):
            held = " ".join(sorted(key.scopes))
            typer.echo(f"{key.key_id}  {key.name:20}  {key.created_at:%Y-%m-%d %H:%M}Z  {_state(key)}  {held}")

    @app.command("revoke")
    def revoke_key(key_id: Annotated[str, typer.Argument(help="the part after kc_, as listed")]) -> None:
        """Make a key useless, within seconds, for ever."""
        if not _with(open_database, lambda connection: revoke(connection, key_id)):
            _fail(f"there is no active key {key_id}")
        typer.echo(f"revoked key {key_id}")

    return app


def _state(key: ApiKey) -> str:
    if key.revoked_at:
        return f"revoked {key.revoked_at:%Y-%m-%d %H:%M}Z"
    if key.expires_at is None:
        return "active"
    word = "until" if key.is_valid(datetime.now(UTC)) else "expired"
    return f"{word} {key.expires_at:%Y-%m-%d %H:%M}Z"


def _imported(variable: str) -> KeyText:
    key = parse_key(os.environ.get(variable, ""))
    if key is None:
        _fail(f"{variable} must hold kc_<id>_<secret>: id 4-32 of a-z 0-9, secret 32-128 of A-Z a-z 0-9 _ -")
    return key


def _with(open_database: OpenDatabase, use: Callable[["Connection"], Coroutine[Any, Any, Result]]) -> Result:
    """Run `use` in one transaction; whatever the operator can mend is one line and exit status 1."""

    async def run() -> Result:
        connection = await open_database()
        try:
            async with connection.transaction():
                return await use(connection)
        finally:
            await connection.close()

    try:
        return asyncio.run(run())
    except (KeyRefused, OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        _fail(str(error) or type(error).__name__)


def _fail(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(1)
