"""Schemathesis: whatever is sent to any route, the answer is one that the OpenAPI document tells of, and never a 500.

It sends examples, limits, random and malformed requests and chains of calls, for a while. A failure prints the seed
and a curl command. Longer: `KUNDENCLUB_FUZZ_SECONDS=1800 .venv/bin/pytest tests/test_fuzz.py --timeout 7200`; the same
again: `KUNDENCLUB_FUZZ_SEED=<seed>`.
"""

import asyncio
import json
import os
import random
import re
import subprocess
import uuid
from pathlib import Path
from typing import Any

import httpx
import pytest
from customer_status.scopes import SCOPES as CUSTOMER_STATUS_SCOPES
from kundenclub.processes import script_path
from loyalty.scopes import SCOPES as LOYALTY_SCOPES

ROOT = Path(__file__).parents[1]
SECONDS = int(os.environ.get("KUNDENCLUB_FUZZ_SECONDS", "8"))
LONGER = (1, 3, 10)
"""A busy machine sends hardly anything in that time: then again, for so many times as long."""
LEAST_SENT = 100
SCOPES = {"loyalty": LOYALTY_SCOPES, "customer-status": CUSTOMER_STATUS_SCOPES}

pytestmark = pytest.mark.asyncio(loop_scope="session")


def fuzz(service: str, url: str, api_key: str, known: dict[str, list[str]], seed: int, seconds: int) -> int:
    """Returns how much was sent. Raises AssertionError with Schemathesis' report."""
    command = [
        script_path("schemathesis"),
        f"--config-file={ROOT / 'tests/schemathesis.toml'}",
        "run",
        str(ROOT / f"contracts/openapi/{service}.json"),
        f"--url={url}",
        f"--seed={seed}",
        f"--max-time={seconds}",
        "--no-color",
    ]
    environment = {"API_KEY": api_key, "KUNDENCLUB_FUZZ_KNOWN": json.dumps(known), "PYTHONPATH": str(ROOT / "tests")}
    done = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, timeout=seconds + 180, cwd=ROOT
    )
    report = done.stdout[-20_000:] + done.stderr[-2_000:]
    print(report)
    assert done.returncode == 0, f"seed {seed}: see the report"
    return int(re.findall(r"(\d+) generated", done.stdout)[0])


def key_of(system: Any, service: str) -> str:
    """A key with every scope there is."""
    scopes = [argument for scope in SCOPES[service] for argument in ("--scope", scope)]
    done = system.run(service, "keys", "create", "--name", f"fuzz-{uuid.uuid4()}", *scopes)
    assert done.returncode == 0, done.stderr
    key: str = re.findall(r"kc_\w+", done.stdout)[-1]
    return key


async def things_there_are(system: Any, api_key: str, prefix: str) -> dict[str, list[str]]:
    """Members with points, purchases and vouchers; the ids of the members begin with `prefix`."""
    members = [f"{prefix}-{number}" for number in range(3)]
    purchases = [
        {
            "type": "kundenclub.purchase.completed.v1",
            "data": {
                "purchase_id": f"{member_id}-p",
                "member_id": member_id,
                "occurred_at": "2026-11-01T10:15:30+01:00",
                "currency": "EUR",
                "lines": [{"product_class": "goods", "amount_cents": 5_000_000}],
            },
        }
        for member_id in members
    ]
    await asyncio.to_thread(system.publish, purchases)
    await asyncio.to_thread(system.settle)
    vouchers = []
    async with httpx.AsyncClient(base_url=system.environment["LOYALTY_URL"], headers={"X-API-Key": api_key}) as shop:
        for member_id in members * 3:
            path, key = f"/v1/members/{member_id}/rewards", {"Idempotency-Key": str(uuid.uuid4())}
            vouchers.append((await shop.post(path, json={"reward": "voucher-5"}, headers=key)).json())
    return {
        "member_id": members,
        "purchase_id": [f"{member_id}-p" for member_id in members],
        "code": [each["code"] for each in vouchers],
        "voucher_id": [each["voucher_id"] for each in vouchers],
    }


@pytest.mark.parametrize("service", ["loyalty", "customer-status"])
async def test_every_answer_is_documented(system: Any, service: str) -> None:
    seed = int(os.environ.get("KUNDENCLUB_FUZZ_SEED", random.randrange(2**31)))
    print(f"seed {seed}")
    url = system.environment[f"{service.upper().replace('-', '_')}_URL"]
    known = await things_there_are(system, key_of(system, "loyalty"), f"fuzz-{service}")
    for longer in LONGER:
        sent = await asyncio.to_thread(fuzz, service, url, key_of(system, service), known, seed, SECONDS * longer)
        if sent > LEAST_SENT:
            break
    assert sent > LEAST_SENT, "hardly anything was sent"
    await asyncio.to_thread(system.settle)  # and what was done adds up
