"""The user's cache folder: what is downloaded or computed once, shared by all processes of a user."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from devstack.errors import DevstackError

LOCK_TIMEOUT_SECONDS = 600.0


def cache_folder() -> Path:
    """DEVSTACK_CACHE_DIR, else the platform's usual place. Raises DevstackError if it cannot be made."""
    import platformdirs

    folder = Path(os.environ.get("DEVSTACK_CACHE_DIR") or platformdirs.user_cache_path("kundenclub-devstack"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DevstackError(f"the cache folder (DEVSTACK_CACHE_DIR) cannot be made: {error}") from error
    return folder.resolve()


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """The only process that makes `path`; the lock ends with its process. Raises DevstackError."""
    import filelock

    lock = filelock.FileLock(path.with_name(path.name + ".lock"), timeout=LOCK_TIMEOUT_SECONDS)
    try:
        with lock:
            yield
    except filelock.Timeout:
        raise DevstackError(f"another process has been making {path} for ten minutes") from None
    except OSError as error:
        raise DevstackError(f"{path} cannot be made: {error}") from error
