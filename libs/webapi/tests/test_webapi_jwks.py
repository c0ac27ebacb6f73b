"""The issuer's keys over real HTTP: rotated, removed, away, and not hammered."""

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import asyncpg
import pytest
from fastapi import APIRouter, FastAPI
from joserfc.jwk import OctKey, RSAKey
from webapi import testing
from webapi.app import Safety
from webapi.auth import require
from webapi.jwks import KEPT_SECONDS, MAX_BYTES, MAX_KEYS, PAUSE_SECONDS, IssuerKeys, Unusable, read_keys
from webapi.problems import Unavailable
from webapi.testing_issuer import AUDIENCE, ISSUER, KEYS, Issuer, public, serving, token
from webapi.tokens import TokenIssuer

router = APIRouter()


@router.get("/v1/things", dependencies=[require("things:read")])
async def read_things() -> str:
    return "things"


@router.post("/v1/things", dependencies=[require("things:write")])
async def write_things() -> str:
    return "written"


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with serving() as issuer:
        yield issuer


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys(issuer: Issuer, clock: Clock) -> IssuerKeys:
    return IssuerKeys(issuer.url, clock=clock)


async def test_an_unknown_key_is_asked_for_once_not_by_everybody(keys: IssuerKeys, issuer: Issuer) -> None:
    found = await asyncio.gather(*[keys.find(f"k{n}") for n in range(200)], keys.find("ec"))
    assert len(issuer.asked) == 1
    assert found[-1] is not None
    assert set(found[:-1]) == {None}


async def test_a_rotated_key_is_found_after_the_pause(keys: IssuerKeys, issuer: Issuer, clock: Clock) -> None:
    assert await keys.find("ec")
    issuer.answer = public("ec", "next")
    assert await keys.find("next") is None
    clock.now += PAUSE_SECONDS
    assert await keys.find("next")
    assert len(issuer.asked) == 2
    assert await keys.find("rsa") is None


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (500, b""),
        (302, b""),
        (200, b"<html>"),
        (200, b"[" * 100_000),
        (200, b'{"keys": {}}'),
        (200, b'{"keys": [' + b" " * MAX_BYTES + b"]}"),
        (200, json.dumps({"keys": [{}] * (MAX_KEYS + 1)}).encode()),
    ],
)
async def test_a_bad_answer_changes_nothing(
    keys: IssuerKeys, issuer: Issuer, clock: Clock, status: int, answer: bytes
) -> None:
    assert await keys.find("ec")
    issuer.status, issuer.answer = status, answer
    issuer.headers = {"Location": "/elsewhere"}
    clock.now += PAUSE_SECONDS
    assert await keys.find("unknown") is None
    assert issuer.asked == ["/jwks"] * 2
    assert await keys.find("ec")


async def test_while_the_issuer_is_away_its_keys_are_kept_for_a_day(clock: Clock) -> None:
    with serving() as issuer:
        keys = IssuerKeys(issuer.url, clock=clock)
        assert await keys.find("ec")
    clock.now += KEPT_SECONDS - 1
    assert await keys.find("ec")
    clock.now += 2
    with pytest.raises(Unavailable):
        await keys.find("ec")


def jwk(**changes: Any) -> dict[str, Any]:
    return {**KEYS["rsa"].as_dict(private=False), **changes}


def test_only_public_keys_for_signatures_are_taken() -> None:
    with pytest.warns(match="2048"):
        weak = RSAKey.generate_key(1024, {"kid": "weak"}).as_dict(private=False)
    listed = [
        OctKey.generate_key(256, {"kid": "secret"}).as_dict(private=True),
        KEYS["ec"].as_dict(private=True),
        jwk(use="enc", kid="enc"),
        jwk(kid=None),
        jwk(kid=""),
        jwk(kid=["a"]),
        jwk(kid="a", n="!"),
        jwk(kid="b", n=7),
        jwk(kid="c", kty=["RSA"]),
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "off the curve"},
        weak,
        None,
        jwk(),
        jwk(n=KEYS["rsa"].as_dict()["n"][::-1]),
    ]
    found = read_keys(json.dumps({"keys": listed}).encode())
    assert list(found) == ["rsa"]
    assert found["rsa"].as_dict(private=False)["n"] == KEYS["rsa"].as_dict()["n"]
    with pytest.raises(Unusable):
        read_keys(b"[]")


def safety(issuer: Issuer) -> Safety:
    return Safety(TokenIssuer(ISSUER, AUDIENCE, issuer.url))


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


async def test_tokens_and_keys_work_at_once(
    build: Callable[..., FastAPI], connection: asyncpg.Connection, issuer: Issuer
) -> None:
    async with testing.running(build(router, safety=safety(issuer))) as client:
        by_key = await testing.credential(connection, "things:read")
        for headers in (bearer(token()), bearer(token("rsa")), by_key):
            assert (await client.get("/v1/things", headers=headers)).status_code == 200
            missing = await client.post("/v1/things", headers=headers)
            assert (missing.status_code, missing.json()["missing_scopes"]) == (403, ["things:write"])
        stranger = await client.get("/v1/things", headers=bearer(token("next")))
        assert (stranger.status_code, stranger.json()["code"]) == (401, "unauthorized")


async def test_addresses_in_a_token_are_never_asked(build: Callable[..., FastAPI], issuer: Issuer) -> None:
    with serving() as forger:
        forger.answer = public("next")
        elsewhere = {"jku": forger.url, "x5u": forger.url, "jwk": KEYS["next"].as_dict(private=False)}
        async with testing.running(build(router, safety=safety(issuer))) as client:
            for kid in ("next", "ec"):
                text = token("next", {"kid": kid, **elsewhere})
                assert (await client.get("/v1/things", headers=bearer(text))).status_code == 401
            # Ignored, not refused: an honest issuer may send them.
            assert (await client.get("/v1/things", headers=bearer(token(header=elsewhere)))).status_code == 200
        assert forger.asked == []


async def test_before_the_issuer_was_reached_it_is_503_and_then_it_works(
    build: Callable[..., FastAPI], connection: asyncpg.Connection, issuer: Issuer
) -> None:
    issuer.status = 500
    keys = IssuerKeys(issuer.url, pause_seconds=0)
    with pytest.raises(Unavailable):
        await keys.find("ec")
    async with testing.running(build(router, safety=safety(issuer))) as client:
        answer = await client.get("/v1/things", headers=bearer(token()))
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        by_key = await testing.credential(connection, "things:read")
        assert (await client.get("/v1/things", headers=by_key)).status_code == 200
    issuer.status = 200
    assert await keys.find("ec")


async def test_without_an_issuer_no_token_counts(build: Callable[..., FastAPI]) -> None:
    async with testing.running(build(router)) as client:
        assert (await client.get("/v1/things", headers=bearer(token()))).status_code == 401


async def test_an_address_that_is_none_is_only_told() -> None:
    for url in ("https://127.0.0.1:1/", "https://[", "https://"):
        with pytest.raises(Unavailable):
            await IssuerKeys(url).find("ec")
