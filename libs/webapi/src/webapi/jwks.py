"""The public keys of whoever issues the tokens, fetched from the JWKS address and kept.

Fetched anew every few minutes, so a key the issuer has removed ends soon, and at once for a key id that is unknown -
but not more often than every few seconds, whatever strangers send. While the issuer is away the keys it had stay
good, for a day. Only the address from the settings is ever asked: addresses and keys inside a token are not looked at.
"""

import asyncio
import base64
import json
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import httpx
import structlog
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

from webapi.problems import Unavailable

log = structlog.get_logger(__name__)

REFRESH_SECONDS: Final = 300.0
RETRY_SECONDS: Final = 15.0
PAUSE_SECONDS: Final = 10.0
KEPT_SECONDS: Final = 24 * 3600.0
FETCH_SECONDS: Final = 3.0
MAX_BYTES: Final = 256 * 1024
MAX_KEYS: Final = 100
MAX_KID_CHARACTERS: Final = 256
LEAST_RSA_BITS: Final = 2048

# No kind of key but these: a shared secret ("oct") must never verify, or whoever reads the public keys could sign.
KINDS: Final[Mapping[str, type[RSAKey] | type[ECKey] | type[OKPKey]]] = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}


class Unusable(Exception):
    """What the address answered is no set of keys; the message says why."""


class IssuerKeys:
    """Keys by their id."""

    def __init__(
        self, url: str, *, pause_seconds: float = PAUSE_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._url = url
        self._pause_seconds = pause_seconds
        self._clock = clock
        self._keys: Mapping[str, Key] | None = None
        self._fetched_at = self._asked_at = float("-inf")
        self._told = ""
        self._fetching = asyncio.Lock()

    async def find(self, kid: str) -> Key | None:
        """The key of this id, None if the issuer has none. Raises Unavailable if its keys are not known at all."""
        known = self._kept().get(kid)
        if known is not None:
            return known
        async with self._fetching:  # whoever comes while somebody asks waits for that answer
            if self._clock() - self._asked_at >= self._pause_seconds:
                await self._fetch()
        if self._keys is None:
            raise Unavailable("the keys of the token's issuer are not known yet")
        return self._kept().get(kid)

    async def keep_fresh(self) -> None:
        """Runs beside the application."""
        while True:
            async with self._fetching:
                fetched = await self._fetch()
            await asyncio.sleep(REFRESH_SECONDS if fetched else RETRY_SECONDS)

    def _kept(self) -> Mapping[str, Key]:
        if self._keys is not None and self._clock() - self._fetched_at > KEPT_SECONDS:
            self._keys = None
        return self._keys or {}

    async def _fetch(self) -> bool:
        """Whether it worked; if not, what there was stays, and each new reason is one line in the log."""
        self._asked_at = self._clock()
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                keys = read_keys(await _download(self._url))
        except Exception as error:  # whatever is wrong over there, it is no reason to fail here
            reason = f"{type(error).__name__}: {error}"
            if reason != self._told:
                log.warning("keys of the token issuer not fetched", reason=reason, kept=len(self._keys or ()))
            self._told = reason
            return False
        if self._keys is None or keys.keys() != self._keys.keys():
            log.info("keys of the token issuer", count=len(keys))
        self._keys, self._fetched_at, self._told = keys, self._clock(), ""
        return True


async def _download(url: str) -> bytes:
    async with (
        httpx.AsyncClient(timeout=FETCH_SECONDS, follow_redirects=False) as client,
        client.stream("GET", url, headers={"Accept": "application/json"}) as answer,
    ):
        if answer.status_code != 200:
            raise Unusable(f"status {answer.status_code}")
        content = bytearray()
        async for chunk in answer.aiter_bytes():
            content += chunk
            if len(content) > MAX_BYTES:
                raise Unusable(f"more than {MAX_BYTES} bytes")
        return bytes(content)


def read_keys(content: bytes) -> dict[str, Key]:
    """The keys of a JWKS that can verify signatures; others in it are left out. Raises Unusable."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Unusable("not JSON") from error
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list) or len(listed) > MAX_KEYS:
        raise Unusable(f"no list of at most {MAX_KEYS} keys")
    keys: dict[str, Key] = {}
    for each in listed:
        key = _read_key(each)
        if key is not None and each["kid"] not in keys:
            keys[each["kid"]] = key
    return keys


def _read_key(jwk: Any) -> Key | None:
    if not isinstance(jwk, dict) or "d" in jwk or jwk.get("use", "sig") != "sig":
        return None
    kid, kind = jwk.get("kid"), jwk.get("kty")
    if not isinstance(kid, str) or not 0 < len(kid) <= MAX_KID_CHARACTERS or not isinstance(kind, str):
        return None
    try:
        if kind not in KINDS or (kind == "RSA" and _bits(jwk["n"]) < LEAST_RSA_BITS):
            return None
        return KINDS[kind].import_key(jwk)
    except (JoseError, ValueError, TypeError, KeyError) as error:
        log.warning("a key of the token issuer cannot be used", kind=kind, reason=type(error).__name__)
        return None


def _bits(number: str) -> int:
    return int.from_bytes(base64.urlsafe_b64decode(number + "=" * (-len(number) % 4))).bit_length()
