"""Whether a database has the schema that a process was written for. Read from the text of the migrations: to load
Alembic and all it needs takes longer than the rest of a process's start.
"""

import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, NamedTuple

import asyncpg

from eventing.database import Connection

_REVISION: Final = re.compile(r'^revision = "(\w+)"$', re.MULTILINE)
_FOLLOWS: Final = re.compile(r'^down_revision = (?:"(\w+)"|None)$', re.MULTILINE)


class Versions(NamedTuple):
    """The revisions of a package's migrations, and the newest of them."""

    known: frozenset[str]
    head: str


def scripts_of(module_file: str) -> Path:
    """The folder of the migrations of the package whose top-level module is `module_file`."""
    package = Path(module_file).parent
    installed = package / "migrations"
    return installed if installed.is_dir() else package.parents[1] / "migrations"


def versions(scripts: Path) -> Versions:
    """Raises ValueError for a migration that does not say what it is, or if not one of them is the newest."""
    known, followed = set[str](), set[str]()
    for file in (scripts / "versions").glob("*.py"):
        text = file.read_text(encoding="utf-8")
        revision, follows = _REVISION.search(text), _FOLLOWS.search(text)
        if revision is None or follows is None:
            raise ValueError(f"{file} does not say its revision and the one it follows")
        known.add(revision[1])
        followed.add(follows[1])
    [head] = known - followed
    return Versions(frozenset(known), head)


def behind(scripts: Path) -> Callable[[Connection], Awaitable[str | None]]:
    """For a process: a function that says what the database lacks of what this program was written for.

    A newer database is not behind: migrations work while the old version still runs.
    """
    known, head = versions(scripts)

    async def why_not(connection: Connection) -> str | None:
        try:
            at = await connection.fetchval("SELECT version_num FROM alembic_version")
        except (asyncpg.UndefinedTableError, asyncpg.InsufficientPrivilegeError):
            at = None
        if at == head or (at is not None and at not in known):
            return None
        return f"the database's schema is at {at or 'an early version'}, needed is {head}: run migrate"

    return why_not
