"""A real Apache Kafka broker, controller in the same process, on ports of 127.0.0.1."""

import contextlib
import logging
import os
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from devstack.cache import locked
from devstack.errors import DevstackError
from devstack.folders import data_folder
from devstack.kafka_java import NODE_ID, Installation, format_storage, installation, scratch_folder
from devstack.kept_process import StopSignals
from devstack.ports import HOST
from devstack.server import Server

CLASS_CACHE_KEPT_SECONDS = 30 * 86_400.0

log = logging.getLogger(__name__)

# For one developer: small pools, the dead are noticed soon, nothing is deleted unless a topic says so.
SETTINGS = """\
process.roles=broker,controller
node.id={node}
controller.quorum.voters={node}@{host}:{controller_port}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=data
auto.create.topics.enable=false
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
offsets.topic.num.partitions=4
transaction.state.log.num.partitions=4
share.coordinator.state.topic.num.partitions=4
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
num.network.threads=2
num.io.threads=4
log.cleaner.dedupe.buffer.size=16777216
log.retention.ms=-1
log.retention.bytes=-1
message.max.bytes=2097152
"""

LOGGING = """\
status=error
rootLogger.level=warn
rootLogger.appenderRef.out.ref=out
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d{ISO8601} %-5p %c{1}: %m%n
"""


class KafkaBroker(Server):
    """Clients connect to `bootstrap_servers`, without TLS or password."""

    name = "kafka"
    ports_needed = 2

    def __init__(
        self,
        folder: Path,
        *,
        temporary: bool,
        port: int | None,
        kafka: Installation,
        jvm_flags: Sequence[str],
    ) -> None:
        super().__init__(folder, temporary=temporary, port=port)
        self.kafka = kafka
        self.jvm_flags = jvm_flags
        self.data = folder / "data"

    @property
    def bootstrap_servers(self) -> str:
        return f"{self.host}:{self.port}"

    def prepare(self) -> None:
        (self.folder / "log4j2.properties").write_text(LOGGING)
        if not self.data.exists():
            with scratch_folder(self.folder / "unfinished") as scratch:
                format_storage(self.kafka, scratch / "data")
                (scratch / "data").rename(self.data)

    def command(self) -> list[str]:
        """All paths relative: a properties file does not take every character."""
        port, controller_port = self.ports
        (self.folder / "server.properties").write_text(
            SETTINGS.format(node=NODE_ID, host=HOST, port=port, controller_port=controller_port)
        )
        flags = [*self.jvm_flags, "-Dlog4j2.configurationFile=log4j2.properties"]
        return self.kafka.command(flags, "kafka.Kafka", "server.properties")

    def is_ready(self) -> bool:
        """By its own sockets: an answering port might be somebody else's."""
        import psutil

        with contextlib.suppress(psutil.NoSuchProcess):
            connections = psutil.Process(self.pid).net_connections("tcp")
            return any(c.status == psutil.CONN_LISTEN and c.laddr.port == self.port for c in connections)
        return False

    def orderly_stop(self) -> StopSignals:
        return [(signal.SIGTERM, 60.0), *self.quick_stop()]

    def quick_stop(self) -> StopSignals:
        return [(signal.SIGKILL, 10.0)]


@contextlib.contextmanager
def kafka(data: Path | None = None, *, port: int | None = None, heap_mb: int = 256) -> Iterator[KafkaBroker]:
    """A running broker, stopped on exit. Without `data` its data is temporary and deleted; no `port`: a free one.

    The first use on a machine takes half a minute longer: it downloads Kafka (45 MB) and makes the class cache.
    Raises DevstackError.
    """
    installed = installation()
    flags = [f"-XX:AOTCache={class_cache(installed)}", f"-Xmx{heap_mb}m"]
    with data_folder("kafka", data) as folder:
        broker = KafkaBroker(folder, temporary=data is None, port=port, kafka=installed, jvm_flags=flags)
        with broker.running():
            yield broker


def class_cache(kafka: Installation) -> Path:
    """A file of loaded and linked classes (JEP 483, 514), which makes a start three times as quick.

    A broker that only starts and stops makes it, once for this Java. Without it all works, more slowly.
    """
    cache = kafka.class_cache
    if not cache.exists():
        with locked(cache), contextlib.suppress(FileNotFoundError):
            if not cache.exists():
                _make_class_cache(kafka, cache)
    with contextlib.suppress(OSError):
        os.utime(cache)  # in use: not to be tidied away
    return cache


def _make_class_cache(kafka: Installation, cache: Path) -> None:
    log.warning("preparing a quick start of Kafka, once")
    for old in cache.parent.glob("*.aot"):
        if time.time() - old.stat().st_mtime > CLASS_CACHE_KEPT_SECONDS:
            old.unlink()
    with scratch_folder(cache.with_suffix(".unfinished")) as scratch:
        output = scratch / "classes.aot"
        flags = [f"-XX:AOTCacheOutput={output}", "-Xmx256m"]
        broker = KafkaBroker(scratch, temporary=True, port=None, kafka=kafka, jvm_flags=flags)
        with broker.running():
            broker.stop()
            if not output.exists():
                raise DevstackError(f"Kafka's class cache was not made:\n{broker.log_tail()}")
            output.rename(cache)
