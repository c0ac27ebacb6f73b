"""Where a server keeps its data: a folder of the user's, or a temporary one; one server a folder."""

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from devstack.errors import DevstackError

LOCK_WAIT_SECONDS = 30.0
LOCK_POLL_SECONDS = 0.1


@contextlib.contextmanager
def data_folder(name: str, kept: Path | None) -> Iterator[Path]:
    """The user's folder, made if need be, or a temporary one that is deleted in the end.

    Raises DevstackError.
    """
    folder = _made(name, kept)
    try:
        yield folder
    finally:
        if kept is None:
            shutil.rmtree(folder, ignore_errors=True)  # the keeper has done it, if there ever was one


def _made(name: str, kept: Path | None) -> Path:
    try:
        if kept is None:
            return Path(tempfile.mkdtemp(prefix=f"devstack-{name}-"))
        kept.mkdir(parents=True, exist_ok=True)
        return kept.resolve()
    except OSError as error:
        raise DevstackError(f"{name} gets no folder for its data: {error}") from error


@contextlib.contextmanager
def folder_lock(folder: Path) -> Iterator[int]:
    """The descriptor of a lock that lasts as long as anybody holds a copy of it: so until the keeper has ended.

    Waits a little, for the keeper of a program that has just ended. Raises DevstackError.
    """
    descriptor = os.open(folder / ".lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        _lock(descriptor, folder)
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path) -> None:
    deadline = time.monotonic() + LOCK_WAIT_SECONDS
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise DevstackError(f"{folder} is in use by another program") from None
            time.sleep(LOCK_POLL_SECONDS)
