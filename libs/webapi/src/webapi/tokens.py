"""JWTs of an OAuth2 issuer: systems by client credentials, people by their own token (RFC 7519, RFC 9068, RFC 8725).

A token counts if its signature is of a key of the issuer's JWKS by a pinned algorithm, and issuer, audience and times
are right. Everything else about it is refused alike, with the same words.
"""

import base64
import json
import re
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, Protocol

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import Key

from webapi.auth import Caller

# Asymmetric ones only: with HS256 the issuer's public key would be the secret, and "none" needs none.
ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519")
# Not an ID token's, a logout token's or whatever else an issuer signs with the same keys.
TYPES: Final = frozenset({"jwt", "at+jwt", "application/jwt", "application/at+jwt"})
MAX_CHARACTERS: Final = 8 * 1024
LEEWAY_SECONDS: Final = 30
MAX_SCOPES: Final = 100
FAR: Final = 1e15

TOKEN = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
# No slash and no line break: see Caller.identity.
CLIENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}")
SUBJECT = re.compile(r"[\x21-\x7e]{1,255}")
SCOPE = re.compile(r"[a-z0-9_-]{1,64}:[a-z0-9_-]{1,64}")

REGISTRY: Final = jws.JWSRegistry(algorithms=ALGORITHMS, strict_check_header=False)
REGISTRY.max_header_length = REGISTRY.max_payload_length = MAX_CHARACTERS  # the whole token is no longer than that


class TokenIssuer(NamedTuple):
    """Whose tokens count (`iss`), for whom they must be made (`aud`), and where the keys are."""

    issuer: str
    audience: str
    jwks_url: str


class Keys(Protocol):
    async def find(self, kid: str) -> Key | None:
        """The issuer's key of this id."""


class Refused(Exception):
    """The token does not count; the reason is for tests and goes no further."""


class Tokens:
    """Authenticates by tokens."""

    def __init__(self, issuer: TokenIssuer, keys: Keys, clock: Callable[[], float] = time.time) -> None:
        self._issuer = issuer
        self._keys = keys
        self._clock = clock

    async def authenticate(self, credential: str) -> Caller | None:
        """Who the token is of, None if it does not count. Raises Unavailable if the issuer's keys are not known."""
        try:
            return await self.read(credential)
        except Refused:
            return None

    async def read(self, token: str) -> Caller:
        """The same, and why not. Raises Refused, Unavailable."""
        kid = _key_id(token)
        key = await self._keys.find(kid)
        if key is None:
            raise Refused("the issuer has no such key")
        claims = _verified(token, key)
        self._check(claims)
        return _caller(claims)

    def _check(self, claims: Mapping[str, Any]) -> None:
        audience = claims.get("aud")
        if claims.get("iss") != self._issuer.issuer:
            raise Refused("another issuer")
        if audience != self._issuer.audience and not (isinstance(audience, list) and self._issuer.audience in audience):
            raise Refused("for another audience")
        now = self._clock()
        if now >= _instant(claims, "exp") + LEEWAY_SECONDS:
            raise Refused("expired")
        if "nbf" in claims and now < _instant(claims, "nbf") - LEEWAY_SECONDS:
            raise Refused("not valid yet")


def _key_id(token: str) -> str:
    """The id of the key that should have signed it. Nothing else of the header is trusted before the signature."""
    if len(token) > MAX_CHARACTERS or not TOKEN.fullmatch(token):
        raise Refused("not a token")
    header = _json(token.partition(".")[0])
    if header.get("alg") not in ALGORITHMS:
        raise Refused("not a pinned algorithm")
    if "crit" in header or "b64" in header:
        raise Refused("asks for what is not understood")
    kind = header.get("typ", "JWT")
    if not isinstance(kind, str) or kind.lower() not in TYPES:
        raise Refused("another type of token")
    kid = header.get("kid")
    if not isinstance(kid, str) or not kid:
        raise Refused("names no key")
    return kid


def _verified(token: str, key: Key) -> dict[str, Any]:
    try:
        # Also compares the key's kind, and its "alg" and "use" if it has any, with the algorithm.
        jws.deserialize_compact(token, key, registry=REGISTRY)
    except (JoseError, ValueError, TypeError) as error:
        raise Refused(type(error).__name__) from error
    return _json(token.split(".")[1])


def _json(segment: str) -> dict[str, Any]:
    try:
        content = json.loads(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    except (ValueError, RecursionError) as error:
        raise Refused("not JSON") from error
    if not isinstance(content, dict):
        raise Refused("not an object")
    return content


def _instant(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    # JSON as Python reads it knows NaN, which is later than nothing: such a token would never expire.
    if isinstance(value, bool) or not isinstance(value, int | float) or not -FAR < value < FAR:
        raise Refused(f"{name} is no time")
    return value


def _caller(claims: Mapping[str, Any]) -> Caller:
    """RFC 9068: `client_id` is the system (`azp` at older issuers), `sub` the person, or the system once more."""
    client = claims.get("client_id", claims.get("azp"))
    subject = claims.get("sub")
    if not isinstance(client, str) or not CLIENT.fullmatch(client):
        raise Refused("names no client")
    if subject is not None and not (isinstance(subject, str) and SUBJECT.fullmatch(subject)):
        raise Refused("names no subject")
    return Caller(client, None if subject == client else subject, _scopes(claims), source="jwt")


def _scopes(claims: Mapping[str, Any]) -> frozenset[str]:
    """Of `scope` (RFC 8693) and `scp`, each a list or words between spaces; what is no scope of ours is left out."""
    found: list[Any] = []
    for name in ("scope", "scp"):
        value = claims.get(name, [])
        found += value.split(" ") if isinstance(value, str) else value if isinstance(value, list) else []
    scopes = [scope for scope in found if isinstance(scope, str) and SCOPE.fullmatch(scope)]
    return frozenset(scopes[:MAX_SCOPES])
