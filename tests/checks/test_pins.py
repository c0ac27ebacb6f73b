"""Everything third-party has an exact version in pyproject.toml (docs/decisions/0002)."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXACT = re.compile(r"([a-z0-9-]+)==([^\s;*]+)( ; .+)?")


def pins(pyproject: Mapping[str, Any]) -> dict[str, set[str]]:
    """Return the pinned versions by package: several where they differ by platform. Raises ValueError if not exact."""
    found: dict[str, set[str]] = {}
    for line in pyproject["tool"]["uv"]["constraint-dependencies"]:
        match = EXACT.fullmatch(line)
        if not match:
            raise ValueError(f"not an exact version: {line}")
        found.setdefault(match[1], set()).add(match[2])
    return found


def resolved(lock: Mapping[str, Any]) -> dict[str, set[str]]:
    """Return the versions in a uv.lock, of the packages that are not our own."""
    found: dict[str, set[str]] = {}
    for package in lock["package"]:
        if "registry" in package["source"]:
            found.setdefault(package["name"], set()).add(package["version"])
    return found


def differences(wanted: Mapping[str, set[str]], found: Mapping[str, set[str]]) -> list[str]:
    """Return what is in `found` with a version that is not pinned."""
    return sorted(name for name, versions in found.items() if not versions <= wanted.get(name, set()))


def root_pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def root_lock() -> dict[str, Any]:
    path = ROOT / "uv.lock"
    if not path.exists():
        pytest.skip("there is no uv.lock: this environment was not made by `make setup`")
    return tomllib.loads(path.read_text())


def test_what_uv_resolves_is_pinned() -> None:
    assert differences(pins(root_pyproject()), resolved(root_lock())) == []


def test_nothing_is_pinned_that_is_not_used() -> None:
    assert differences(resolved(root_lock()), pins(root_pyproject())) == []


def test_what_is_installed_is_pinned() -> None:
    own = {tomllib.loads(path.read_text())["project"]["name"] for path in ROOT.glob("*/*/pyproject.toml")}
    brought_along = {"pip", "setuptools", "wheel", "uv"}
    installed = {
        re.sub(r"[-_.]+", "-", package.name).lower(): {package.version}
        for package in distributions()
        if package.name not in own | brought_along
    }
    assert differences(pins(root_pyproject()), installed) == []


def test_build_tools_are_pinned() -> None:
    pinned = {line.split("==")[0] for line in root_pyproject()["tool"]["uv"]["build-constraint-dependencies"]}
    files = [tomllib.loads(path.read_text()) for path in ROOT.glob("*/*/pyproject.toml")]
    assert {name for file in files for name in file["build-system"]["requires"]} <= pinned


def test_differences_are_seen() -> None:
    lock = {
        "package": [
            {"name": "msgspec", "version": "0.22.1", "source": {"registry": "r"}},
            {"name": "mako", "version": "1.4.3", "source": {"registry": "r"}},
            {"name": "kundenclub", "version": "0.1.0", "source": {"editable": "apps/kundenclub"}},
        ]
    }
    pyproject = {
        "tool": {"uv": {"constraint-dependencies": ["msgspec==0.22.0", "numpy==1.0 ; python_version < '3.12'"]}}
    }
    assert differences(pins(pyproject), resolved(lock)) == ["mako", "msgspec"]
    assert differences(resolved(lock), pins(pyproject)) == ["msgspec", "numpy"]


@pytest.mark.parametrize("pin", ["msgspec>=0.22", "msgspec==0.22.*", "msgspec"])
def test_a_pin_that_is_no_exact_version_is_seen(pin: str) -> None:
    with pytest.raises(ValueError, match="not an exact version"):
        pins({"tool": {"uv": {"constraint-dependencies": [pin]}}})
