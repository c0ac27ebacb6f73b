"""Write the exact version of every third-party package, transitive ones too, into the root pyproject.toml.

The resolution runs on a copy of the workspace's pyproject files without their pins. An existing lock
file goes along as preference, so that only what is new gets a version; with --upgrade everything is
resolved anew.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import tempfile
import tomllib
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EXPORT = [
    "export",
    "--all-packages",
    "--all-groups",
    "--no-emit-workspace",
    "--no-hashes",
    "--no-header",
    "--no-annotate",
]


def with_pins(pyproject: str, key: str, pins: Iterable[str]) -> str:
    """Return the text of a pyproject.toml with the array `key` of [tool.uv] replaced.

    Raises ValueError where the array is missing: it has to exist, empty or not, on lines of its own.
    """
    block = "".join(f'    "{pin}",\n' for pin in pins)
    text, found = re.subn(rf"(?ms)^{key} = \[.*?^\]", lambda _: f"{key} = [\n{block}]", pyproject)
    if found != 1:
        raise ValueError(f"pyproject.toml has no array {key}")
    return text


def copy_workspace(target: Path, *, upgrade: bool) -> None:
    """Copy the pyproject files, the root one without pins, and the lock file unless `upgrade`."""
    text = (ROOT / "pyproject.toml").read_text()
    workspace = tomllib.loads(text)["tool"]["uv"]["workspace"]
    for member in (path for pattern in workspace["members"] for path in ROOT.glob(f"{pattern}/pyproject.toml")):
        copy = target / member.relative_to(ROOT)
        copy.parent.mkdir(parents=True)
        shutil.copy(member, copy)
    for key in ("constraint-dependencies", "build-constraint-dependencies"):
        text = with_pins(text, key, [])
    (target / "pyproject.toml").write_text(text)
    if not upgrade and (ROOT / "uv.lock").exists():
        shutil.copy(ROOT / "uv.lock", target)


def build_requirements(target: Path) -> set[str]:
    files = target.glob("*/*/pyproject.toml")
    return {name for file in files for name in tomllib.loads(file.read_text())["build-system"]["requires"]}


def resolve(uv: str, folder: Path, arguments: list[str], requirements: str | None = None) -> list[str]:
    """Return the lines `name==version` or `name==version ; marker` that uv prints."""
    command = [uv, "--quiet", *arguments]
    result = subprocess.run(command, cwd=folder, input=requirements, stdout=subprocess.PIPE, text=True, check=True)
    return [line.replace('"', "'") for line in result.stdout.splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--uv", default="uv")
    parser.add_argument("--upgrade", action="store_true")
    options = parser.parse_args()
    uv = shutil.which(options.uv)
    if uv is None:
        parser.error(f"{options.uv} is not there")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_workspace(folder, upgrade=options.upgrade)
        pins = resolve(str(Path(uv).absolute()), folder, EXPORT)
        build = "\n".join(sorted(build_requirements(folder)))
        compile_build = ["pip", "compile", "-", "--universal", "--no-header", "--no-annotate"]
        build_pins = resolve(str(Path(uv).absolute()), folder, compile_build, build)
    text = with_pins((ROOT / "pyproject.toml").read_text(), "constraint-dependencies", pins)
    (ROOT / "pyproject.toml").write_text(with_pins(text, "build-constraint-dependencies", build_pins))
    print(f"{len(pins)} packages and {len(build_pins)} build tools pinned in pyproject.toml")


if __name__ == "__main__":
    main()
