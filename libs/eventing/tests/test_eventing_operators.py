"""What operators use: the commands, the topics, the settings, the probes and the logs."""

import asyncio
import gc
import json
import logging
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest
import typer
from aiokafka.errors import KafkaConnectionError
from devstack.ports import free_port
from eventing import dead_letters, progress
from eventing.cli import dead_letters_app, partitions_app, topics_app
from eventing.commands import explained, run
from eventing.database import connect, connect_or_explain
from eventing.dead_letters import Refusal
from eventing.kafka import KafkaConfig
from eventing.log_ends import read_end_offsets
from eventing.logs import RateLimit, one_line
from eventing.probes import serve_probes
from eventing.progress import Step
from eventing.rebuild_log import LogReader
from eventing.records import Partition, Record
from eventing.settings import KafkaSettings, LogSettings, load_settings
from eventing.status import Status
from eventing.topics import TopicSpec, apply_topics, check_topics, load_topics
from stage import MakeTopic, read_all
from typer.testing import CliRunner, Result

Command = Callable[..., "asyncio.Future[Result]"]


@pytest.fixture
def command(database_url: str, kafka: KafkaConfig) -> Command:
    """`await command("dead-letters", "list")`, in a thread, for the commands run an event loop of their own."""
    app = typer.Typer()

    async def open_database() -> asyncpg.Connection:
        return await connect(database_url, application_name="cli")

    app.add_typer(dead_letters_app(open_database, lambda: kafka), name="dead-letters")
    app.add_typer(partitions_app(open_database), name="partitions")
    return lambda *arguments: asyncio.ensure_future(asyncio.to_thread(CliRunner().invoke, app, arguments))


async def test_dead_letters_are_shown_retried_and_discarded(
    command: Command, make_topic: MakeTopic, conn: asyncpg.Connection
) -> None:
    topic = await make_topic(partitions=2)
    headers = (("ce_id", b"1"), ("ce_id", b"2"))
    records = [
        Record(topic.name, 0, 0, 0, b"k", b"one", headers),
        Record(topic.name, 1, 0, 0, None, b"two", ()),
        Record(topic.name, 0, 1, 0, b"k", None, ()),
        Record(topic.name, 0, 2, 0, b"k", b"four", ()),
    ]
    reasons = ["bad", "bad", "worse", "worse"]
    await dead_letters.insert(conn, [Refusal(r, None, w, "because") for r, w in zip(records, reasons, strict=True)])
    listed = await command("dead-letters", "list")
    assert listed.stdout.count("bad: because") == 2
    first = listed.stdout.split()[0]
    assert "ce_id: 2" in (await command("dead-letters", "show", first)).stdout
    assert (await command("dead-letters", "retry", first)).stdout == "1 published again\n"
    again = await command("dead-letters", "retry", first)
    assert (again.exit_code, again.stderr) == (1, f"no open dead letters: {first}\n")
    assert (await command("dead-letters", "retry", "--reason", "bad")).stdout == "1 published again\n"
    assert (await command("dead-letters", "discard", "--reason", "worse")).stdout == "2 discarded\n"
    assert (await command("dead-letters", "list")).stdout == ""
    assert (await command("dead-letters", "retry")).stderr == "give numbers of dead letters, or --reason\n"
    published = {(r.key, r.value, r.headers) for r in await read_all(topic)}
    assert published == {(b"k", b"one", headers), (None, b"two", ())}


async def test_partitions_are_listed_and_resumed(command: Command, conn: asyncpg.Connection) -> None:
    await progress.load(conn, [Partition("t", 0), Partition("t", 1)])
    await progress.advance_past_failure(conn, "t", Step(1, 0, 5), limit=1, reason="why")
    lines = (await command("partitions", "list")).stdout.splitlines()
    assert lines[0] == "t[0]  next offset 0"
    assert lines[1].startswith("t[1]  next offset 5  paused since ")
    assert lines[1].endswith("Z: why")
    assert (await command("partitions", "resume", "t", "1")).stdout == "t[1] resumed\n"
    refused = await command("partitions", "resume", "t", "1")
    assert (refused.exit_code, refused.stderr) == (1, "t[1] is not paused\n")


async def test_a_paused_partition_goes_on_after_what_nobody_can_read(
    command: Command, conn: asyncpg.Connection
) -> None:
    there = Partition("t", 0)
    await progress.load(conn, [there])
    refused = await command("partitions", "skip", "t", "0", "--to", "7")
    assert (refused.exit_code, refused.stderr) == (1, "t[0] is not paused before offset 7\n")
    await progress.pause(conn, there, "no record can be read")
    assert (await command("partitions", "skip", "t", "0", "--to", "7")).stdout == "t[0] goes on at offset 7\n"
    row = (await progress.load(conn, [there]))[there]
    assert (row.next_offset, row.paused_at) == (7, None)


async def test_topics_are_created_and_differences_reported(kafka: KafkaConfig, make_topic: MakeTopic) -> None:
    topic = (await make_topic(partitions=3, message_timestamp_type="CreateTime")).spec
    assert await check_topics(kafka, [topic]) == []
    wanted = TopicSpec(topic.topic, 12, {"message.timestamp.type": "LogAppendTime", "cleanup.policy": "compact"})
    created, findings = await apply_topics(kafka, [wanted])
    assert created == []
    assert [(finding.text, finding.blocks) for finding in findings] == [
        ("has 3 partitions, its contract says 12", False),
        ("message.timestamp.type is CreateTime, its contract says LogAppendTime", True),
        ("cleanup.policy is delete, its contract says compact", False),
    ]
    [missing] = await check_topics(kafka, [TopicSpec("missing", 1)])
    assert (str(missing), missing.blocks) == ("missing: does not exist", True)
    ends = await read_end_offsets(kafka, [topic.topic])
    assert ends == {Partition(topic.topic, number): 0 for number in range(3)}


def test_a_folder_without_topic_contracts_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no topic contracts"):
        load_topics(tmp_path)


@pytest.mark.parametrize("error", [OSError("away"), ValueError("no port"), asyncpg.PostgresError("no")])
def test_what_can_be_mended_is_one_line(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as exit_, explained():
        raise error
    assert (exit_.value.exit_code, capsys.readouterr().err.count("\n")) == (1, 1)


def test_a_database_that_is_away_is_told_with_its_address(capsys: pytest.CaptureFixture[str]) -> None:
    port = free_port()
    with pytest.raises(typer.Exit):
        run(connect_or_explain(f"postgresql://user:secret@127.0.0.1:{port}/db", application_name="test"))
    told = capsys.readouterr().err
    assert told.startswith(f"no connection to the database at 127.0.0.1:{port}: ")
    assert told.count("\n") == 1
    assert "secret" not in told


def test_brokers_that_are_away_are_told_in_words(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit), explained():
        raise KafkaConnectionError("Unable to bootstrap from [('kafka', 9092, <AddressFamily.AF_UNSPEC: 0>)]")
    assert capfd.readouterr().err == "no Kafka broker answers at the addresses of KAFKA_BOOTSTRAP_SERVERS\n"


def test_a_log_that_cannot_be_read_leaves_no_client_behind(capfd: pytest.CaptureFixture[str]) -> None:
    async def read_with_two() -> None:
        logs = [LogReader(KafkaConfig(f"127.0.0.1:{free_port()}"), f"log-{n}", print) for n in range(2)]
        async with logs[0], logs[1]:
            pytest.fail("there is no broker")

    with pytest.raises(typer.Exit):
        run(read_with_two())
    gc.collect()
    assert capfd.readouterr().err == "no Kafka broker answers at the addresses of KAFKA_BOOTSTRAP_SERVERS\n"


async def test_topics_apply_creates_what_the_contracts_say(
    kafka: KafkaConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "topics"
    folder.mkdir()
    contract = (
        "topic: applied\npartitions: 2\nkey: any\nconfig: {cleanup.policy: compact}\nevents: [{type: x, schema: y}]\n"
    )
    (folder / "applied.yaml").write_text(contract)
    assert load_topics(folder) == (TopicSpec("applied", 2, {"cleanup.policy": "compact"}),)
    monkeypatch.setenv("CONTRACTS_DIR", str(tmp_path))
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", kafka.bootstrap_servers)
    first = await asyncio.to_thread(CliRunner().invoke, topics_app, ["apply"])
    assert (first.exit_code, first.stdout) == (0, "applied: created\n")
    second = await asyncio.to_thread(CliRunner().invoke, topics_app, ["apply"])
    assert (second.exit_code, second.output) == (0, "")
    (folder / "applied.yaml").write_text(contract.replace("compact", "delete"))
    third = await asyncio.to_thread(CliRunner().invoke, topics_app, ["apply"])
    assert third.exit_code == 1
    assert third.stderr == "applied: cleanup.policy is compact, its contract says delete\n"


def test_settings_name_every_variable_that_is_missing_or_wrong(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KAFKA_BOOTSTRAP_SERVERS", raising=False)
    monkeypatch.setenv("KAFKA_SECURITY_PROTOCOL", "TLS")
    with pytest.raises(SystemExit) as exit:
        load_settings(KafkaSettings)
    assert exit.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "KAFKA_BOOTSTRAP_SERVERS: not set"
    assert lines[1].startswith("KAFKA_SECURITY_PROTOCOL: Input should be 'PLAINTEXT'")
    Path(".env").write_text(
        "KAFKA_BOOTSTRAP_SERVERS=h:1\nKAFKA_SECURITY_PROTOCOL=SSL\nKAFKA_SASL_PASSWORD=p\nKAFKA_SESSION_TIMEOUT_MS=3000\n"
    )
    monkeypatch.delenv("KAFKA_SECURITY_PROTOCOL")
    config = load_settings(KafkaSettings).config()
    assert (config.bootstrap_servers, config.security_protocol, config.sasl_password) == ("h:1", "SSL", "p")
    assert config.session_timeout_ms == 3000
    assert "sasl_password" not in repr(config)
    assert load_settings(LogSettings).format == "json"


async def _get(port: int, request: str) -> tuple[str, str]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"{request} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    head, _, body = (await asyncio.wait_for(reader.read(), 5)).decode().partition("\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    return head.split("\r\n")[0].removeprefix("HTTP/1.1 "), body


async def test_probes_tell_alive_ready_and_metrics() -> None:
    status = Status()
    async with serve_probes("127.0.0.1", 0, status) as port:
        status.waiting_for("database", "refused")
        assert await _get(port, "GET /livez") == ("200 OK", "alive\n")
        assert await _get(port, "GET /readyz") == ("503 Service Unavailable", "waiting for database: refused\n")
        status.ready("database")
        assert await _get(port, "GET /readyz") == ("200 OK", "ready\n")
        first, metrics = await _get(port, "GET /metrics")
        assert first == "200 OK"
        assert "eventing_outbox_messages" in metrics
        assert (await _get(port, "GET /other"))[0] == "404 Not Found"
        assert (await _get(port, "POST /livez"))[0] == "405 Method Not Allowed"
        assert await _get(port, "GET /livez" + "x" * 10_000) == ("", "")


def test_the_same_line_of_a_talkative_library_is_held_back() -> None:
    limit = RateLimit(seconds=60)

    def passes(name: str, text: str, *arguments: object) -> bool:
        return limit.filter(logging.LogRecord(name, logging.ERROR, "", 0, text, arguments, None))

    assert [passes("aiokafka.conn", "node %s away", n) for n in range(3)] == [True, False, False]
    assert passes("aiokafka.conn", "another")
    assert passes("eventing.relay", "node %s away", 1)
    assert passes("eventing.relay", "node %s away", 2)


def test_what_is_held_back_is_counted() -> None:
    limit = RateLimit(seconds=0)
    record = logging.LogRecord("aiokafka", logging.ERROR, "", 0, "away", (), None)
    limit._seen[("aiokafka", "away")] = (0.0, 5)
    assert limit.filter(record)
    assert record.getMessage() == "away (and 5 more like it)"


def test_a_pool_whose_server_is_away_says_why_and_not_where_in_the_library() -> None:
    error = ConnectionRefusedError(111, "refused 100%")
    record = logging.LogRecord("asyncpg.pool", logging.WARNING, "", 0, "retrying", (), (type(error), error, None))
    assert RateLimit(seconds=60).filter(record)
    assert (record.getMessage(), record.exc_info) == (f"retrying: {error!r}", None)


def test_a_line_of_the_log_is_the_json_that_python_writes() -> None:
    event = {
        "event": "request",
        "status": 200,
        "milliseconds": 1.25,
        "client": None,
        "of": [1, {"ok": True}],
        "none": {},
    }
    assert one_line(event, repr) == json.dumps(event)


@pytest.mark.parametrize("odd", ["\ud800", 2**70, {1: {2}}, object, float("nan"), ValueError("no")])
def test_no_line_of_the_log_is_lost_for_what_it_tells(odd: object) -> None:
    assert json.loads(one_line({"event": "odd", "told": odd}, repr))["event"] == "odd"
