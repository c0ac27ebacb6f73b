"""What a token must be, and every way of forging one that we know."""

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws
from joserfc.jwk import Key, RSAKey
from webapi.auth import Caller
from webapi.jwks import read_keys
from webapi.testing_issuer import AUDIENCE, ISSUER, KEYS, claims_of, encoded, public, token
from webapi.tokens import LEEWAY_SECONDS, MAX_CHARACTERS, Refused, TokenIssuer, Tokens

RSA = KEYS["rsa"]
assert isinstance(RSA, RSAKey)
PEM = RSA.as_pem(private=False)
PUBLISHED = read_keys(public("rsa", "ec", "ed"))


class Published:
    """The issuer's keys without a server."""

    async def find(self, kid: str) -> Key | None:
        return PUBLISHED.get(kid)


TOKENS = Tokens(TokenIssuer(ISSUER, AUDIENCE, "https://unused.test"), Published())


async def refused(text: str) -> str:
    assert await TOKENS.authenticate(text) is None
    with pytest.raises(Refused) as caught:
        await TOKENS.read(text)
    return str(caught.value)


@pytest.mark.parametrize("by", ["rsa", "ec", "ed"])
async def test_a_system_by_client_credentials(by: str) -> None:
    assert await TOKENS.authenticate(token(by)) == Caller("shop", None, frozenset({"things:read"}), "jwt")


async def test_a_person_at_a_system() -> None:
    caller = await TOKENS.read(token(sub="auth0|anna", client_id=None, azp="desk", aud=["x", AUDIENCE]))
    assert (caller.client, caller.subject) == ("desk", "auth0|anna")
    assert (caller.system, caller.identity) == ("jwt:desk", "jwt:desk/auth0|anna")


@pytest.mark.parametrize(
    ("claims", "scopes"),
    [
        ({"scope": "a:r  b:w a:r"}, {"a:r", "b:w"}),
        ({"scope": None, "scp": ["a:r", 7, None, ["b:w"]]}, {"a:r"}),
        ({"scope": None, "scp": "a:r"}, {"a:r"}),
        ({"scope": ["a:r"], "scp": "b:w"}, {"a:r", "b:w"}),
        ({"scope": None}, set()),
        ({"scope": {"a:r": 1}}, set()),
        ({"scope": "A:R a:* a a:r\nb:w"}, set()),
    ],
)
async def test_scopes(claims: dict[str, Any], scopes: set[str]) -> None:
    assert (await TOKENS.read(token(**claims))).scopes == scopes


def unsigned(header: dict[str, Any]) -> str:
    return f"{encoded(header)}.{encoded(claims_of())}."


def signed_with_what_is_public(secret: bytes) -> str:
    """The classic confusion: HS256 with the issuer's public key as the secret."""
    signed = f"{encoded({'alg': 'HS256', 'kid': 'rsa', 'typ': 'JWT'})}.{encoded(claims_of())}"
    digest = hmac.digest(secret, signed.encode(), hashlib.sha256)
    return f"{signed}.{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"


def tampered(text: str, **changes: Any) -> str:
    header, _, signature = text.split(".")
    return f"{header}.{encoded(claims_of(**changes))}.{signature}"


FORGED = {
    "none": (unsigned({"alg": "none", "kid": "rsa"}), "not a token"),
    "none, with a signature": (unsigned({"alg": "none", "kid": "rsa"}) + "AAAA", "not a pinned algorithm"),
    "None": (unsigned({"alg": "None", "kid": "rsa"}) + "AAAA", "not a pinned algorithm"),
    "no algorithm": (unsigned({"kid": "rsa"}) + "AAAA", "not a pinned algorithm"),
    "algorithms": (unsigned({"alg": ["RS256"], "kid": "rsa"}) + "AAAA", "not a pinned algorithm"),
    "HS256 by PEM": (signed_with_what_is_public(PEM), "not a pinned algorithm"),
    "HS256 by JWKS": (signed_with_what_is_public(public("rsa")), "not a pinned algorithm"),
    "another key of its name": (token("next", {"kid": "ec"}), "BadSignatureError"),
    "another kind of key": (token("ec", {"kid": "rsa"}), "InvalidKeyTypeError"),
    "own scopes": (tampered(token(), scope="things:write"), "BadSignatureError"),
    "no key named": (token(header={"kid": None}), "names no key"),
    "key injection": (token(header={"kid": "../../dev/null"}), "the issuer has no such key"),
    "SQL in kid": (token(header={"kid": "x' UNION SELECT 'ec"}), "the issuer has no such key"),
    "own jwk": (
        token("next", {"kid": "ec", "jwk": KEYS["next"].as_dict(private=False)}),
        "BadSignatureError",
    ),
    "unknown crit": (token(header={"crit": ["exp"], "exp": 1}), "asks for what is not understood"),
    "unencoded payload": (token(header={"b64": True}), "asks for what is not understood"),
    "ID token": (token(header={"typ": "id+jwt"}), "another type of token"),
    "logout token": (token(header={"typ": "logout+jwt"}), "another type of token"),
    "encrypted": (".".join([encoded({"alg": "dir", "enc": "A128GCM"}), "", "AA", "AA", "AA"]), "not a token"),
    "JSON form": (json.dumps({"payload": "AA", "signatures": []}), "not a token"),
    "line break": (token() + "\n", "not a token"),
    "deep": (".".join([base64.urlsafe_b64encode(b"[" * 7_000).decode().rstrip("="), "AA", "AA"]), "not a token"),
    "less deep": (".".join([base64.urlsafe_b64encode(b"[" * 3_000).decode().rstrip("="), "AA", "AA"]), "not JSON"),
    "another issuer": (token(iss="https://issuer.test/realms"), "another issuer"),
    "no issuer": (token(iss=None), "another issuer"),
    "issuers": (token(iss=[ISSUER]), "another issuer"),
    "another audience": (token(aud="things2"), "for another audience"),
    "part of an audience": (token(aud="a things b"), "for another audience"),
    "no audience": (token(aud=None), "for another audience"),
    "expired": (token(exp=int(time.time()) - LEEWAY_SECONDS - 1), "expired"),
    "never expires": (token(exp=None), "exp is no time"),
    "expires as text": (token(exp="4000000000"), "exp is no time"),
    "expires as true": (token(exp=True), "exp is no time"),
    "expires at NaN": (token(exp=float("nan")), "exp is no time"),
    "expires at infinity": (token(exp=float("inf")), "exp is no time"),
    "expires too far for a float": (token(exp=10**400), "exp is no time"),
    "not yet": (token(nbf=int(time.time()) + 3_600), "not valid yet"),
    "no client": (token(client_id=None), "names no client"),
    "another's identity": (token(client_id="shop/anna"), "names no client"),
    "client with a line break": (token(client_id="shop\nlevel=error"), "names no client"),
    "client is a number": (token(client_id=7), "names no client"),
    "subject with a line break": (token(sub="a\nb"), "names no subject"),
    "subject is a list": (token(sub=["a"]), "names no subject"),
}


@pytest.mark.parametrize("name", FORGED)
async def test_forged(name: str) -> None:
    text, why = FORGED[name]
    assert await refused(text) == why


async def test_within_the_leeway_a_clock_may_be_wrong() -> None:
    now = int(time.time())
    assert await TOKENS.authenticate(token(exp=now - LEEWAY_SECONDS + 10, nbf=now + LEEWAY_SECONDS - 10))


async def test_a_large_token() -> None:
    assert await TOKENS.authenticate(token(padding="x" * 4_000))
    assert await refused(token(padding="x" * MAX_CHARACTERS)) == "not a token"
    assert await refused(token(header={"padding": "x" * MAX_CHARACTERS})) == "not a token"


@pytest.mark.parametrize("claims", [[], "text", 7, None])
async def test_claims_that_are_no_object(claims: Any) -> None:
    text = jws.serialize_compact({"alg": "ES256", "kid": "ec"}, json.dumps(claims), KEYS["ec"])
    assert await refused(text) == "not an object"


SEGMENT = st.one_of(
    st.text("AZaz09-_", max_size=20),
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.sampled_from(["ES256", "ec", "JWT"]),
        lambda inner: st.dictionaries(st.sampled_from(["alg", "kid", "typ", "exp", "x"]), inner) | st.lists(inner),
    ).map(encoded),
)


@given(st.one_of(st.text(max_size=60), st.lists(SEGMENT, min_size=3, max_size=3).map(".".join)))
async def test_no_text_fails_otherwise(text: str) -> None:
    assert await TOKENS.authenticate(text) is None


@given(st.lists(SEGMENT, min_size=2, max_size=2), st.integers(0, 1))
async def test_no_text_under_a_good_header_fails_otherwise(parts: list[str], which: int) -> None:
    good = token().split(".")
    assert await TOKENS.authenticate(".".join([good[0], *parts])) is None
    mixed = [*good]
    mixed[1 + which] = parts[0]
    assert mixed == good or await TOKENS.authenticate(".".join(mixed)) is None
