"""The client's errors: one class for every problem code that the routes it calls can answer with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from contract_files.openapi import openapi_documents

CLIENT = Path(__file__).resolve().parents[2] / "libs/client/src/kundenclub_client"
BASES = {401: "BadCredential", 403: "NotAllowed", 404: "Missing", 409: "Conflict", 410: "Missing", 429: "TooMany"}

HEAD = '''"""Every refusal by its code. Written by `make contracts`."""

from kundenclub_client.errors import (
{bases})

'''
CLASS = '''
class {name}({base}):
    """{status}: {title}."""

    code = "{code}"

'''
TAIL = """
BY_CODE: dict[str, type[ServiceProblem]] = {{
    each.code: each
    for each in (
{names}    )
}}
"""


def files() -> dict[Path, str]:
    """The text of the module by its path."""
    problems = sorted({problem for document in openapi_documents().values() for problem in _problems(document)})
    bases = sorted({_base(status) for _, status, _ in problems} | {"ServiceProblem"})
    parts = [HEAD.format(bases="".join(f"    {base},\n" for base in bases))]
    for code, status, title in problems:
        parts.append(CLASS.format(name=_name(code), base=_base(status), status=status, title=title, code=code))
    parts.append(TAIL.format(names="".join(f"        {_name(code)},\n" for code, _, _ in problems)))
    return {CLIENT / "problems.py": "".join(parts)}


def _problems(document: Mapping[str, Any]) -> set[tuple[str, int, str]]:
    """Code, status and title of every problem; the descriptions of the answers have them."""
    called = (CLIENT / "calls.py").read_text()
    operations = [
        operation
        for path in document["paths"].values()
        for operation in path.values()
        if f'"{operation["operationId"]}"' in called
    ]
    return {
        (code, int(status), title)
        for operation in operations
        for status, answer in operation["responses"].items()
        if status >= "400"
        for code, title in re.findall(r"`([a-z_]+)`: ([^;]+)", answer["description"])
    }


def _base(status: int) -> str:
    return BASES.get(status, "ServiceFailed" if status >= 500 else "Refused")


def _name(code: str) -> str:
    return "".join(part.capitalize() for part in code.split("_"))
