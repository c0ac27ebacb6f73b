"""Keys of events that are forgotten for ever: what still comes about them takes no effect.

Kept is an HMAC of each under a secret from outside the database, so that nobody who only has the database can tell
whose they were. The secret must stay the same for ever: under another one what was forgotten would be known anew. A
start with another one is refused.

Reads name the schema: a rebuild's handlers work in empty copies, and have to ask the live table.
"""

import hashlib
import hmac
from collections.abc import Collection
from typing import Final

from eventing.database import Connection
from eventing.failures import WorkerStopped

SECRET_DIGITS: Final = 64
_CHECK: Final = b"check"
_KEY: Final = b"key:"


class Secret:
    """What the HMACs are made with."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    @classmethod
    def parse(cls, text: str) -> "Secret":
        """Of 64 hexadecimal digits. Raises ValueError that names no digit of it."""
        try:
            secret = bytes.fromhex(text)
        except ValueError:
            secret = b""
        if len(secret) * 2 != SECRET_DIGITS:
            raise ValueError(f"must be {SECRET_DIGITS} hexadecimal digits")
        return cls(secret)

    def hash_of(self, key: str) -> bytes:
        """What is kept of a key."""
        return self._mac(_KEY + key.encode())

    @property
    def check(self) -> bytes:
        """Tells two secrets apart, and nothing else about them."""
        return self._mac(_CHECK)

    def _mac(self, message: bytes) -> bytes:
        return hmac.digest(self._secret, message, hashlib.sha256)


async def adopt(conn: Connection, secret: Secret) -> None:
    """At a process's start. Raises WorkerStopped if this database's keys were forgotten under another secret."""
    async with conn.transaction():
        await conn.execute("SELECT pg_advisory_xact_lock(hashtextextended('forgotten_check', 0))")
        known = [row["secret_check"] for row in await conn.fetch("SELECT secret_check FROM forgotten_check")]
        if not known:
            await conn.execute("INSERT INTO forgotten_check (secret_check) VALUES ($1)", secret.check)
        elif known != [secret.check]:
            raise WorkerStopped("the erasure key is another one than before: bring the old one back, it never changes")


async def forget(conn: Connection, secret: Secret, keys: Collection[str]) -> None:
    """Forget `keys`; whoever calls it holds the locks of their rows, and deletes what names them."""
    await conn.execute(
        "INSERT INTO forgotten (key_hash) SELECT unnest($1::bytea[]) ON CONFLICT DO NOTHING",
        [secret.hash_of(key) for key in keys],
    )


async def forgotten_among(conn: Connection, secret: Secret, keys: Collection[str]) -> set[str]:
    """Those of `keys` that are forgotten."""
    by_hash = {secret.hash_of(key): key for key in keys}
    rows = await conn.fetch("SELECT key_hash FROM public.forgotten WHERE key_hash = ANY($1::bytea[])", list(by_hash))
    return {by_hash[row["key_hash"]] for row in rows}
