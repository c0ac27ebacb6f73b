"""API keys: made here, shown once, stored as a hash, revocable.

A key reads `kc_<key_id>_<secret>`. The id finds the row; the secret is 256 random bits, so its plain SHA-256 may be
stored: there is nothing to guess. All keys of one name are one client, which can so change its key and stay itself.
"""

import asyncio
import hashlib
import hmac
import re
import secrets
import string
import time
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

import asyncpg

if TYPE_CHECKING:  # commands import this module, and shall not wait for FastAPI and SQLAlchemy
    import sqlalchemy as sa

    from webapi.auth import Caller
    from webapi.database import Connection, Database

CACHE_SECONDS = 3.0
CACHED_KEYS = 1_000
KEY_ID_LENGTH = 12
SECRET_BYTES = 32
KEY_PREFIX = "kc_"
KEY = re.compile(r"kc_([a-z0-9]{4,32})_([A-Za-z0-9_-]{32,128})")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
SCOPE = re.compile(r"[a-z0-9_-]+:[a-z0-9_-]+")
NO_HASH = bytes(32)


def api_key_table(metadata: "sa.MetaData") -> "sa.Table":
    """The keys; a service's migrations create the table and grant SELECT, INSERT, UPDATE."""
    import sqlalchemy as sa
    from sqlalchemy.dialects.postgresql import BYTEA

    return sa.Table(
        "api_key",
        metadata,
        sa.Column("key_id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("secret_hash", BYTEA, nullable=False),
        sa.Column("scopes", sa.ARRAY(sa.Text), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("revoked_at", sa.DateTime(timezone=True)),
        sa.Column("expires_at", sa.DateTime(timezone=True), comment="the first instant it is no longer valid"),
    )


class KeyText(NamedTuple):
    key_id: str
    secret: str

    def __str__(self) -> str:
        return f"kc_{self.key_id}_{self.secret}"


class ApiKey(NamedTuple):
    key_id: str
    name: str
    secret_hash: bytes
    scopes: frozenset[str]
    created_at: datetime
    revoked_at: datetime | None
    expires_at: datetime | None

    def is_valid(self, at: datetime) -> bool:
        return self.revoked_at is None and (self.expires_at is None or at < self.expires_at)


class KeyRefused(ValueError):
    """A key that cannot be made as asked; the message says why."""


def new_key() -> KeyText:
    alphabet = string.ascii_lowercase + string.digits
    key_id = "".join(secrets.choice(alphabet) for _ in range(KEY_ID_LENGTH))
    return KeyText(key_id, secrets.token_hex(SECRET_BYTES))


def parse_key(text: str) -> KeyText | None:
    match = KEY.fullmatch(text)
    return KeyText(match[1], match[2]) if match else None


def hash_secret(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


async def create(
    connection: "Connection", key: KeyText, name: str, scopes: frozenset[str], expires_at: datetime | None = None
) -> None:
    """Store `key`; the same key again takes on the new name, scopes and end. Raises KeyRefused."""
    if not NAME.fullmatch(name):
        raise KeyRefused("a name is 1-64 of A-Z a-z 0-9 . _ -, beginning with a letter or digit")
    wrong = sorted(scope for scope in scopes if not SCOPE.fullmatch(scope))
    if wrong or not scopes:
        raise KeyRefused(f"scopes look like `things:read`, at least one; not: {' '.join(wrong) or 'none'}")
    stored = await connection.fetchval(
        """
        INSERT INTO api_key AS k (key_id, name, secret_hash, scopes, expires_at) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (key_id) DO UPDATE
        SET name = excluded.name, scopes = excluded.scopes, expires_at = excluded.expires_at
        WHERE k.secret_hash = excluded.secret_hash AND k.revoked_at IS NULL
        RETURNING key_id
        """,
        key.key_id,
        name,
        hash_secret(key.secret),
        sorted(scopes),
        expires_at,
    )
    if stored is None:
        raise KeyRefused(f"key id {key.key_id} is taken by another or a revoked key")


async def list_keys(connection: "Connection") -> list[ApiKey]:
    rows = await connection.fetch("SELECT * FROM api_key ORDER BY created_at, key_id")
    return [_read(row) for row in rows]


async def lookup(connection: "Connection", key_ids: Collection[str]) -> dict[str, ApiKey]:
    rows = await connection.fetch("SELECT * FROM api_key WHERE key_id = ANY($1::text[])", list(key_ids))
    return {row["key_id"]: _read(row) for row in rows}


async def revoke(connection: "Connection", key_id: str) -> bool:
    """False if there is no such key or it was revoked before."""
    status = await connection.execute(
        "UPDATE api_key SET revoked_at = now() WHERE key_id = $1 AND revoked_at IS NULL", key_id
    )
    return bool(status == "UPDATE 1")


def _read(row: asyncpg.Record) -> ApiKey:
    return ApiKey(
        key_id=row["key_id"],
        name=row["name"],
        secret_hash=row["secret_hash"],
        scopes=frozenset(row["scopes"]),
        created_at=row["created_at"],
        revoked_at=row["revoked_at"],
        expires_at=row["expires_at"],
    )


class ApiKeys:
    """Authenticates by the keys in the database; a revoked one works `cache_seconds` longer at most.

    Keys that are not in the cache are looked up together, one statement at a time: however many strangers try
    however many keys, they occupy one connection, and who is known does not wait for it.
    """

    def __init__(self, database: "Database", cache_seconds: float = CACHE_SECONDS) -> None:
        self._database = database
        self._cache_seconds = cache_seconds
        self._cached: dict[str, tuple[float, ApiKey]] = {}
        self._next: _Lookup | None = None
        self._looking = asyncio.Lock()

    async def authenticate(self, credential: str) -> "Caller | None":
        from webapi.auth import Caller

        key = parse_key(credential)
        if key is None:
            return None
        stored = await self._lookup(key.key_id)
        # An unknown id takes the same comparison as a wrong secret: nothing tells them apart.
        expected = stored.secret_hash if stored else NO_HASH
        matches = hmac.compare_digest(hash_secret(key.secret), expected)
        if stored is None or not matches or not stored.is_valid(datetime.now(UTC)):
            return None
        return Caller(client=stored.name, subject=None, scopes=stored.scopes)

    async def _lookup(self, key_id: str) -> ApiKey | None:
        now = time.monotonic()
        read_at, cached = self._cached.get(key_id, (0.0, None))
        if cached is not None and now - read_at < self._cache_seconds:
            return cached
        if self._next is None:
            key_ids: set[str] = set()
            self._next = _Lookup(key_ids, asyncio.create_task(self._look_up(key_ids)))
        self._next.key_ids.add(key_id)
        stored = (await asyncio.shield(self._next.found)).get(key_id)
        if stored is None:  # not kept: strangers could fill the memory with ids
            self._cached.pop(key_id, None)
        else:
            if len(self._cached) >= CACHED_KEYS:
                self._cached.clear()
            self._cached[key_id] = (now, stored)
        return stored

    async def _look_up(self, key_ids: set[str]) -> Mapping[str, ApiKey]:
        """All that were asked for until the lookup before this one has ended."""
        async with self._looking:
            self._next = None
            async with self._database.connection() as connection:
                return await lookup(connection, key_ids)


class _Lookup(NamedTuple):
    key_ids: set[str]
    found: asyncio.Task[Mapping[str, ApiKey]]
