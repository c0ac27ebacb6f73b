"""The operators' commands every service mounts: `dead-letters`, `partitions`, `rebuild`, and `topics`."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Final, TypeVar

import asyncpg
import typer

from eventing import dead_letters, progress
from eventing.batch_loop import run_batches
from eventing.commands import OpenDatabase, Refused, explained, hush_client, opened, refused, run
from eventing.dead_letters import DeadLetter
from eventing.kafka import KafkaConfig, open_producer
from eventing.publishing import publish
from eventing.rebuild_report import RebuildReport
from eventing.records import Partition
from eventing.settings import ContractsSettings, KafkaSettings, load_settings
from eventing.topics import apply_topics, load_topics

Ids = Annotated[list[int] | None, typer.Argument(metavar="ID...", help="Numbers of dead letters.")]
Reason = Annotated[str | None, typer.Option(help="All open ones with this reason instead of single numbers.")]
R = TypeVar("R")
Rebuilding = Callable[[bool, bool, Callable[[str], None]], Coroutine[Any, Any, RebuildReport]]
"""Of whether to apply, whether to do so although the log lost events, and where to tell how it goes on."""

_MOST: Final = 1000
_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"


def dead_letters_app(open_database: OpenDatabase, kafka: Callable[[], KafkaConfig]) -> typer.Typer:
    """`list`, `show`, `retry`, `discard`."""
    app = typer.Typer(no_args_is_help=True, help="Events that were not accepted.")

    @app.command("list")
    def list_(state: str = "open", reason: str | None = None, limit: int = 100) -> None:
        """List dead letters, oldest first."""
        for letter in _run(
            open_database, lambda conn: dead_letters.find(conn, state=state, reason=reason, limit=limit)
        ):
            typer.echo(_line(letter))

    @app.command()
    def show(dead_letter_id: int) -> None:
        """Show one with its headers and its bytes."""
        letter = _run(open_database, lambda conn: dead_letters.get(conn, dead_letter_id))
        if letter is None:
            raise refused(f"there is no dead letter {dead_letter_id}")
        typer.echo(_full(letter))

    @app.command()
    def retry(ids: Ids = None, reason: Reason = None) -> None:
        """Publish to their topics again, with the original key, value and headers."""

        async def work(conn: asyncpg.Connection) -> int:
            return await _retry(conn, kafka(), await _chosen(conn, ids, reason))

        done = _run(open_database, work)
        typer.echo(f"{done} published again")

    @app.command()
    def discard(ids: Ids = None, reason: Reason = None) -> None:
        """Decide that nothing is to be done about them."""

        async def work(conn: asyncpg.Connection) -> int:
            chosen = await _chosen(conn, ids, reason)
            return await dead_letters.decide(conn, [letter.dead_letter_id for letter in chosen], "discarded")

        done = _run(open_database, work)
        typer.echo(f"{done} discarded")

    return app


def partitions_app(open_database: OpenDatabase) -> typer.Typer:
    """`list`, `resume`."""
    app = typer.Typer(no_args_is_help=True, help="How far the topics were read, and which partitions are paused.")

    @app.command("list")
    def list_() -> None:
        """List all partitions with the next offset to read."""
        for row in _run(open_database, progress.load_all):
            paused = f"  paused since {row.paused_at:{_TIME}}: {row.paused_reason}" if row.paused_at else ""
            typer.echo(f"{row.partition.topic}[{row.partition.number}]  next offset {row.next_offset}{paused}")

    @app.command()
    def resume(topic: str, partition: int) -> None:
        """Let a paused partition go on; workers notice within seconds."""
        if not _run(open_database, lambda conn: progress.resume(conn, Partition(topic, partition))):
            raise refused(f"{topic}[{partition}] is not paused")
        typer.echo(f"{topic}[{partition}] resumed")

    @app.command()
    def skip(
        topic: str, partition: int, to: Annotated[int, typer.Option(help="The next offset to read.", min=0, max=2**62)]
    ) -> None:
        """Let a paused partition go on after records that nobody can read. Their events are lost to this service."""
        if not _run(open_database, lambda conn: progress.skip(conn, Partition(topic, partition), to)):
            raise refused(f"{topic}[{partition}] is not paused before offset {to}")
        typer.echo(f"{topic}[{partition}] goes on at offset {to}")

    return app


def add_rebuild(app: typer.Typer, service: str, rebuild: Rebuilding) -> None:
    """Adds `rebuild` to the commands of `service`."""

    @app.command("rebuild")
    def rebuild_from_the_log(
        apply: Annotated[bool, typer.Option("--apply", help="Repair what differs, and publish what changes.")] = False,
        even_if_events_were_lost: Annotated[
            bool,
            typer.Option(
                "--even-if-the-log-lost-events",
                help="Repair although many rows are of events that are not in the log.",
            ),
        ] = False,
    ) -> None:
        """Compute all rows anew from the beginning of the log, beside the live ones, and show how those differ.

        The service may run. Exit status 1 if something differs, with --apply if something still does.
        """
        work = rebuild(apply, even_if_events_were_lost, tell)
        hush_client()
        with explained():
            report = run_batches(work)
        for line in report.lines(f"{service} rebuild"):
            typer.echo(line)
        if not report.is_right:
            raise typer.Exit(1)


def tell(line: str) -> None:
    """Say something beside the command's result: on standard error."""
    typer.echo(line, err=True)


topics_app: typer.Typer = typer.Typer(no_args_is_help=True, help="Topics as their contracts say.")


@topics_app.callback()
def _topics() -> None:
    """Settings: KAFKA_... and CONTRACTS_DIR."""


@topics_app.command("apply")
def apply_(replication_factor: Annotated[int, typer.Option(help="-1: the broker's default.")] = -1) -> None:
    """Create the topics that are missing and report how the others differ; exits with 1 if one does."""
    kafka, contracts = load_settings(KafkaSettings).config(), load_settings(ContractsSettings)
    specs = load_topics(contracts.dir / "topics")
    created, findings = run(apply_topics(kafka, specs, replication_factor=replication_factor))
    for topic in created:
        typer.echo(f"{topic}: created")
    for finding in findings:
        typer.echo(str(finding), err=True)
    raise typer.Exit(1 if findings else 0)


async def _retry(conn: asyncpg.Connection, kafka: KafkaConfig, letters: list[DeadLetter]) -> int:
    async with open_producer(kafka, "dead-letters") as producer:
        await publish(producer, [letter.record for letter in letters])
    # Marked only now: to be published twice is harmless, to be marked and never published is not.
    return await dead_letters.decide(conn, [letter.dead_letter_id for letter in letters], "retried")


async def _chosen(conn: asyncpg.Connection, ids: list[int] | None, reason: str | None) -> list[DeadLetter]:
    if bool(ids) == bool(reason):
        raise Refused("give numbers of dead letters, or --reason")
    if reason:
        return await dead_letters.find(conn, reason=reason, limit=_MOST)
    letters = {number: await dead_letters.get(conn, number) for number in sorted(set(ids or []))}
    if wrong := [number for number, letter in letters.items() if letter is None or letter.state != "open"]:
        raise Refused(f"no open dead letters: {', '.join(map(str, wrong))}")
    return [letter for letter in letters.values() if letter is not None]


def _run(open_database: OpenDatabase, work: Callable[[asyncpg.Connection], Coroutine[Any, Any, R]]) -> R:
    async def with_connection() -> R:
        async with opened(open_database) as conn:
            return await work(conn)

    return run(with_connection())


def _line(letter: DeadLetter) -> str:
    record, created = letter.record, f"{letter.created_at:{_TIME}}"
    where = f"{record.topic}[{record.partition}]@{record.offset}"
    return f"{letter.dead_letter_id}  {letter.state}  {created}  {where}  {letter.reason}: {letter.detail}"


def _full(letter: DeadLetter) -> str:
    record = letter.record
    headers = [f"  {name}: {'(no value)' if v is None else v.decode(errors='replace')}" for name, v in record.headers]
    value = "(no value)" if record.value is None else record.value.decode(errors="backslashreplace")
    key = "(no key)" if record.key is None else record.key.decode(errors="backslashreplace")
    return "\n".join([_line(letter), f"key: {key}", "headers:", *headers, "value:", value])
