"""What all operators' commands share: what can be mended is one line and an exit status, never a stack trace."""

import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, TypeVar

import asyncpg
import typer
from aiokafka.errors import KafkaConnectionError, KafkaError

from eventing.database import DatabaseAway, close
from eventing.logs import configure_logging
from eventing.settings import LogSettings, load_settings

OpenDatabase = Callable[[], Awaitable[asyncpg.Connection]]
R = TypeVar("R")

_MENDABLE: Final = (
    OSError,
    OverflowError,
    TimeoutError,
    ValueError,
    KafkaError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
)


class Refused(Exception):
    """The command cannot be done as it was given."""


def refused(line: str) -> typer.Exit:
    """Say why, on standard error; raise what is returned."""
    typer.echo(line, err=True)
    return typer.Exit(1)


@contextmanager
def explained(*others: type[Exception]) -> Iterator[None]:
    """Servers that are away and `others` end the command with one line and exit status 1."""
    known: tuple[type[Exception], ...] = (Refused, DatabaseAway, *others)
    try:
        yield
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(141) from None
    except known as error:
        raise refused(str(error)) from None
    except _MENDABLE as error:
        raise refused(_first_line(error)) from None


def _first_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, KafkaConnectionError):
        return "no Kafka broker answers at the addresses of KAFKA_BOOTSTRAP_SERVERS"
    if isinstance(error, KafkaError):  # its text begins with its class
        return str(error).splitlines()[0]
    return f"{type(error).__name__}: {error}".splitlines()[0].removesuffix(": ")


def hush_client() -> None:
    """For a command: what the Kafka client logs of a failure is raised as well, and told once."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)


def run(work: Coroutine[Any, Any, R]) -> R:
    """The result of `work`, or an explanation."""
    hush_client()
    with explained():
        return asyncio.run(work)


def parsed(text: str | None, option: str, parse: Callable[[str], R]) -> R | None:
    """What `parse` makes of an option's text; its ValueError says what is wrong with the option."""
    try:
        return None if text is None else parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


@asynccontextmanager
async def opened(open_database: OpenDatabase) -> AsyncIterator[asyncpg.Connection]:
    """A connection for one command."""
    conn = await open_database()
    try:
        yield conn
    finally:
        await close(conn)


def configure_logs() -> None:
    """Log as `LOG_FORMAT` and `LOG_LEVEL` say."""
    logs = load_settings(LogSettings)
    configure_logging(logs.format, logs.level)
