"""Nothing that names a person or opens a door gets into logs, metrics, errors or published events."""

import base64
import contextlib
import io
import json
import logging
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime

import asyncpg
import pytest
from devstack import ServiceDatabase
from eventing.envelope import new_message
from eventing.logs import configure_logging
from eventing.outbox import unpack
from httpx import AsyncClient, Response
from loyalty.main import build
from loyalty.settings import ApiSettings
from loyalty.subscriptions import PURCHASES
from programme.facts import PURCHASE_COMPLETED
from programme.terms import Programme
from prometheus_client import generate_latest
from pydantic import SecretStr
from structlog import reset_defaults
from webapi.testing import credential, running
from webapi.testing_issuer import AUDIENCE, ISSUER, serving, token

# Each is found again wherever it turns up.
MEMBER, STRANGER, PURCHASE = "MARKER-member", "MARKER-nobody", "MARKER-purchase"
KEY, TEXT, VOUCHER_KEY = "MARKER-idempotency", "MARKER-text", "4d41524b45522121" * 4
SCOPES = ("members:read", "members:write", "vouchers:write", "vouchers:codes", "adjustments:write", "quotes:read")


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """All that is logged, as a process in operation writes it."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    log = io.StringIO()
    with contextlib.redirect_stderr(log):
        configure_logging("json", "DEBUG")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # the client of the test tells what it asks for
    logging.getLogger("httpcore").setLevel(logging.WARNING)
    yield log
    logging.getLogger("httpx").setLevel(logging.NOTSET)
    logging.getLogger("httpcore").setLevel(logging.NOTSET)
    root.handlers[:], root.level = before[0], before[1]
    reset_defaults()


async def good_and_bad(client: AsyncClient, post: Callable[..., Awaitable[None]]) -> tuple[str, list[Response]]:
    """The code of a voucher, and the answers that must not repeat it, or anything else that was sent."""
    await client.put(f"/v1/members/{MEMBER}")
    line = {"line": 1, "product_class": "goods", "quantity": 1, "amount_cents": 150_000}
    data = {"purchase_id": PURCHASE, "member_id": MEMBER, "currency": "EUR", "lines": [line]}
    data["occurred_at"] = datetime.now(UTC).isoformat()
    encoded = json.dumps(data).encode()
    await post(new_message(PURCHASES, type=PURCHASE_COMPLETED, source="urn:test", key=MEMBER, data=encoded))
    keyed = {"Idempotency-Key": KEY}
    reward = {"reward": "voucher-5"}
    issued = await client.post(f"/v1/members/{MEMBER}/rewards", json=reward, headers=keyed)
    code = issued.json()["code"]
    basket = {"code": code, "purchase_id": PURCHASE, "cents_by_class": {"goods": 5_000}}
    for path in ("check", "reserve", "release"):
        await client.post(f"/v1/vouchers/{path}", json=basket if path != "check" else {"code": code})
    refused = [
        await client.post(f"/v1/members/{STRANGER}/rewards", json=reward, headers=keyed),
        await client.post("/v1/vouchers/redeem", json=basket | {"code": "MARK-ERMA-RKER-CODE"}),
        await client.post("/v1/vouchers/redeem", json=basket | {"cents_by_class": {"tobacco": 1}}),
        await client.post("/v1/vouchers/redeem", json=basket | {"surplus": TEXT}),
        await client.post("/v1/vouchers/check", json={"code": [code]}),
        await client.post("/v1/vouchers/check", content=f'{{"code": "{code}"', headers={"Content-Type": "text/plain"}),
        await client.post(f"/v1/members/{MEMBER}/adjustments", json={"points": TEXT, "text": TEXT}, headers=keyed),
        await client.get(f"/v1/members/{MEMBER}?at={TEXT}"),
        await client.get(f"/v1/nothing/{TEXT}?{TEXT}={TEXT}", headers={"X-Request-Id": f"{TEXT} {TEXT}"}),
    ]
    return code, refused


async def test_markers_are_found_nowhere(
    database: ServiceDatabase,
    programme: Programme,
    conn: asyncpg.Connection,
    post: Callable[..., Awaitable[None]],
    log: io.StringIO,
) -> None:
    with serving() as issuer:
        settings = ApiSettings(
            database_url=database.app_url,
            voucher_keys=SecretStr(f"1:{VOUCHER_KEY}"),
            erasure_key=SecretStr(VOUCHER_KEY),
            development=True,
            jwt_issuer=ISSUER,
            jwt_audience=AUDIENCE,
            jwks_url=issuer.url,
        )
        async with running(build(settings, programme)) as client:
            api_key = (await credential(conn, *SCOPES))["Authorization"].removeprefix("Bearer ")
            good = token(sub="MARKER-person", client_id="desk", scope=" ".join(SCOPES))
            bad = token("next", sub="MARKER-forger")
            client.headers["Authorization"] = f"Bearer {good}"
            code, refused = await good_and_bad(client, post)
            for sent in (api_key, api_key[:-3] + "xyz", bad, good[:-3] + "xyz", "MARKER-credential"):
                refused.append(await client.get("/v1/nothing", headers={"X-API-Key": sent}))
                del client.headers["Authorization"]
                refused.append(await client.get("/v1/members/a/entries?cursor=MARKER", headers={"X-API-Key": sent}))
                client.headers["Authorization"] = f"Bearer {good}"
            owner = await asyncpg.connect(database.owner_url)
            await owner.execute(f"ALTER TABLE account ADD CONSTRAINT odd CHECK (member_id <> '{MEMBER}') NOT VALID")
            crashed = await client.post(
                f"/v1/members/{MEMBER}/rewards", json={"reward": "voucher-5"}, headers={"Idempotency-Key": KEY + "2"}
            )
            await owner.close()
    assert crashed.status_code == 500
    assert "constraint_name=odd" in log.getvalue()
    assert log.getvalue().count('"event": "request"') > 15
    secrets = [api_key.rpartition("_")[2], good.rpartition(".")[2], bad.rpartition(".")[2], VOUCHER_KEY]
    secrets += [code, code.replace("-", ""), base64.b64encode(code.encode()).decode(), "MARK-ERMA", "MARKERMA"]
    exposed = log.getvalue() + generate_latest().decode()
    for secret in [*secrets, "MARKER"]:
        assert secret not in exposed, secret
    for answer in [*refused, crashed]:
        assert answer.status_code >= 400
        # A member's own id may come back to who has sent it, in `detail` for people to read; nothing else does.
        told = answer.text.replace(f"member {MEMBER}", "").replace(f"member {STRANGER}", "")
        assert not [secret for secret in [*secrets, "MARKER"] if secret in told], told
    published = [message for row in await conn.fetch("SELECT messages FROM outbox") for message in unpack(row[0])]
    assert len(published) >= 3
    for message in published:
        assert not [secret for secret in secrets if secret.encode() in (message.value or b"")], message
