"""Apache Kafka's jars: kafka-jars.txt lists them with their checksums, jgo fetches them once into the cache."""

import hashlib
import logging
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from devstack.cache import cache_folder, locked
from devstack.errors import DevstackError

KAFKA_VERSION = "4.3.1"
PINNED = Path(__file__).with_name("kafka-jars.txt")
DOWNLOADS_AT_ONCE = 8
DOWNLOAD_ATTEMPTS = 3
DOWNLOAD_TIMEOUT_SECONDS = 30

log = logging.getLogger(__name__)


class Jar(NamedTuple):
    group: str
    name: str
    version: str
    sha256: str

    @property
    def filename(self) -> str:
        return f"{self.name}-{self.version}.jar"


def pinned_jars() -> list[Jar]:
    """All that the broker needs, dependencies included; nothing is resolved at run time."""
    jars = []
    for line in PINNED.read_text().splitlines():
        coordinate, sha256 = line.split()
        group, name, version = coordinate.split(":")
        jars.append(Jar(group, name, version, sha256))
    return jars


def kafka_folder() -> Path:
    """The folder of the jars, complete; downloaded by the first process that asks, others wait.

    Raises DevstackError.
    """
    pinned = hashlib.sha256(PINNED.read_bytes()).hexdigest()[:12]
    folder = cache_folder() / f"kafka-{KAFKA_VERSION}-{pinned}"
    if not folder.exists():
        with locked(folder):
            if not folder.exists():
                _download_all(folder)
    return folder


def _download_all(folder: Path) -> None:
    """All or nothing: the folder appears by one rename at the end."""
    jars = pinned_jars()
    log.warning("downloading Apache Kafka %s, once: %d files, 45 MB", KAFKA_VERSION, len(jars))
    unfinished = folder.with_name(folder.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        repository = unfinished / "repository"
        repository.mkdir(parents=True)
        with ThreadPoolExecutor(DOWNLOADS_AT_ONCE) as pool:
            downloads = [pool.submit(_download, jar, repository) for jar in jars]
            try:
                for jar, download in zip(jars, downloads, strict=True):
                    download.result().rename(unfinished / jar.filename)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        shutil.rmtree(repository)
        unfinished.rename(folder)
    except OSError as error:
        raise DevstackError(f"Apache Kafka cannot be kept in {folder.parent}: {error}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _download(jar: Jar, repository: Path) -> Path:
    from jgo.maven import MavenContext, PythonResolver
    from requests import RequestException

    context = MavenContext(
        repo_cache=repository,
        remote_repos=_repositories(),
        resolver=PythonResolver(),
        timeout=DOWNLOAD_TIMEOUT_SECONDS,
    )
    artifact = context.project(jar.group, jar.name).at_version(jar.version).artifact()
    path = artifact.cached_path
    assert path is not None  # there is a repository cache
    problem = ""
    for _ in range(DOWNLOAD_ATTEMPTS):
        path.unlink(missing_ok=True)  # jgo would take what is there, even half of it
        try:
            artifact.resolve()
        except (RequestException, RuntimeError) as error:
            problem = str(error)
        else:
            if hashlib.sha256(path.read_bytes()).hexdigest() == jar.sha256:
                return Path(path)
            problem = "its content is not what is expected: the checksum differs"
    raise DevstackError(f"Apache Kafka cannot be downloaded: {jar.filename}: {problem}")


def _repositories() -> dict[str, str] | None:
    """DEVSTACK_MAVEN_REPOSITORY, for a mirror within a company; None lets jgo use the public one."""
    url = os.environ.get("DEVSTACK_MAVEN_REPOSITORY")
    return {"mirror": url.rstrip("/")} if url else None
