"""The OpenAPI documents of both services, made from their applications."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from customer_status import main as customer_status
from customer_status.settings import ApiSettings as CustomerStatusSettings
from fastapi import FastAPI
from loyalty import main as loyalty
from loyalty.settings import ApiSettings as LoyaltySettings
from programme.terms import Programme, load_programme
from pydantic import SecretStr

from contract_files.examples import add_examples

ROOT = Path(__file__).resolve().parents[2]
NOWHERE = "postgresql://nowhere"
"""Nothing connects before an application is served."""


def apps(programme: Programme) -> dict[str, FastAPI]:
    """Both HTTP services, by name."""
    keys, erasure_key = SecretStr("1:" + "00" * 32), SecretStr("00" * 32)
    settings = LoyaltySettings(database_url=NOWHERE, voucher_keys=keys, erasure_key=erasure_key)
    return {
        "loyalty": loyalty.build(settings, programme),
        "customer-status": customer_status.build(CustomerStatusSettings(database_url=NOWHERE), programme),
    }


def openapi_documents() -> dict[str, dict[str, Any]]:
    """The OpenAPI document of each service."""
    programme = load_programme(ROOT / "contracts/programme.toml")
    return {name: app.openapi() for name, app in apps(programme).items()}


def files() -> dict[Path, str]:
    """The text of each document by its path, with examples."""
    found = {}
    for name, document in openapi_documents().items():
        add_examples(document)
        text = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        found[ROOT / f"contracts/openapi/{name}.json"] = text
    return found
