"""What contracts/ and libs/client hold that is made from code and schemas. `make contracts` writes it."""

from pathlib import Path

from contract_files import asyncapi, client_errors, openapi

ROOT = Path(__file__).resolve().parents[2]


def files() -> dict[Path, str]:
    """The text of every generated file by its path."""
    return openapi.files() | asyncapi.files() | client_errors.files()
