"""The versions of a schema, read from the text of its migrations."""

from pathlib import Path

import pytest
from eventing.schema_version import Versions, versions


def write(scripts: Path, name: str, text: str) -> None:
    (scripts / "versions").mkdir(exist_ok=True)
    (scripts / "versions" / f"{name}.py").write_text(text)


def test_the_newest_is_the_one_that_none_follows(tmp_path: Path) -> None:
    write(tmp_path, "b", 'revision = "b_second"\ndown_revision = "a_first"\n')
    write(tmp_path, "c", '"""Third."""\n\nimport x\n\nrevision = "c_third"\ndown_revision = "b_second"\n')
    write(tmp_path, "a", 'revision = "a_first"\ndown_revision = None\n')
    assert versions(tmp_path) == Versions(frozenset({"a_first", "b_second", "c_third"}), "c_third")


@pytest.mark.parametrize(
    "text",
    [
        'revision = "b"\n',
        'down_revision = "a"\n',
        "revision = 'b'\ndown_revision = 'a'\n",
        'revision = "b"\ndown_revision = None\n',
    ],
    ids=["follows nothing", "no revision", "written otherwise", "two that none follows"],
)
def test_what_cannot_be_read_is_an_error(tmp_path: Path, text: str) -> None:
    write(tmp_path, "a", 'revision = "a"\ndown_revision = None\n')
    write(tmp_path, "b", text)
    with pytest.raises(ValueError, match=r"does not say its revision|too many values"):
        versions(tmp_path)
