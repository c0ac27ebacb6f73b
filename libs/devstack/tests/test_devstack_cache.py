"""Kafka's download: once, checked, and clear about what went wrong. A mirror on this machine serves the cached jars."""

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest
from devstack import DevstackError
from devstack.kafka_jars import kafka_folder, pinned_jars
from devstack.ports import HOST

ASK_FOR_KAFKA = "from devstack.kafka_jars import kafka_folder; print(kafka_folder())"


class Mirror(NamedTuple):
    url: str
    files: dict[str, bytes]
    requests: Counter[str]


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Mirror]:
    """It has all jars; the cache is empty."""
    folder = kafka_folder()
    files = {jar.filename: (folder / jar.filename).read_bytes() for jar in pinned_jars()}
    requests: Counter[str] = Counter()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.rpartition("/")[2]
            requests[name] += 1
            content = files.get(name)
            self.send_response(200 if content is not None else 404)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *_: object) -> None:
            """Not on the terminal."""

    with ThreadingHTTPServer((HOST, 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        url = f"http://{HOST}:{server.server_port}"
        monkeypatch.setenv("DEVSTACK_MAVEN_REPOSITORY", url)
        monkeypatch.setenv("DEVSTACK_CACHE_DIR", str(tmp_path / "cache"))
        monkeypatch.setenv("NO_PROXY", HOST)
        yield Mirror(url, files, requests)
        server.shutdown()


def test_two_programs_starting_at_once_download_each_jar_once(mirror: Mirror) -> None:
    programs = [
        subprocess.Popen([sys.executable, "-c", ASK_FOR_KAFKA], stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    folders = {program.communicate(timeout=120)[0].strip() for program in programs}
    assert len(folders) == 1
    present = {path.name for path in Path(folders.pop()).iterdir()}
    assert present == set(mirror.files)
    assert {name: mirror.requests[name] for name in mirror.files} == dict.fromkeys(mirror.files, 1)


def test_a_jar_that_is_not_the_pinned_one_is_refused_and_nothing_stays(mirror: Mirror, tmp_path: Path) -> None:
    mirror.files["slf4j-api-1.7.36.jar"] = b"something else"
    with pytest.raises(DevstackError, match=r"slf4j-api-1\.7\.36\.jar: .* checksum differs"):
        kafka_folder()
    assert not [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]


def test_without_a_network_the_error_names_file_and_reason(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEVSTACK_MAVEN_REPOSITORY", f"http://{HOST}:1")
    with pytest.raises(DevstackError, match=r"cannot be downloaded: .*\.jar: .*Connection refused"):
        kafka_folder()


def test_a_cache_folder_that_cannot_be_made_is_one_clear_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DEVSTACK_CACHE_DIR", str(tmp_path / "file" / "cache"))
    with pytest.raises(DevstackError, match="DEVSTACK_CACHE_DIR"):
        kafka_folder()
