"""`customer-status`: everything an operator does with this service."""

import sys
import time
from collections.abc import Coroutine
from typing import Annotated, Any

import asyncpg
import msgspec
import typer
from eventing.batch_loop import run_batches
from eventing.cli import dead_letters_app, partitions_app
from eventing.commands import configure_logs, explained, opened, run
from eventing.database import connect
from eventing.kafka import KafkaConfig
from eventing.log_ends import read_end_offsets
from eventing.rebuild import Rebuild
from eventing.rebuild_report import RebuildReport
from eventing.settings import ContractsSettings, KafkaSettings, load_settings
from programme.calendar import civil_day
from programme.instants import parse_instant
from programme.terms import Programme, ProgrammeError, load_programme
from webapi.keys import keys_app
from webapi.server import serve

from customer_status import main, migrate, worker
from customer_status.audit.state import states
from customer_status.audit.verify import verify
from customer_status.events import MEMBERS_TOPIC, PURCHASES_TOPIC
from customer_status.rebuild.republish import republish
from customer_status.rebuild.sides import MemberSides
from customer_status.settings import (
    ApiSettings,
    CustomerStatusSettings,
    MigrationSettings,
    WorkerSettings,
)
from customer_status.subscriptions import subscriptions
from customer_status.terms import service as terms

app = typer.Typer(
    no_args_is_help=True,
    help="Levels: who is basis, silver or gold, and since when.",
    pretty_exceptions_enable=False,
)


@app.command("migrate")
def migrate_database() -> None:
    """Bring the database to the newest schema, as its owner."""
    settings = load_settings(MigrationSettings)
    with explained():
        migrate.upgrade(settings.migrations_database_url, settings.database_url)


@app.command("api")
def serve_api() -> None:
    """Serve the HTTP API until told to stop."""
    settings, programme = load_settings(ApiSettings), _programme()
    configure_logs()
    serve(main.build(settings, programme), settings.http_host, settings.http_port, settings.metrics_port)


@app.command("worker")
def run_worker() -> None:
    """Read purchases and members, and publish the timelines they change, until told to stop."""
    settings, kafka, programme = load_settings(WorkerSettings), _kafka(), _programme()
    configure_logs()
    worker.run(settings, kafka, load_settings(ContractsSettings).dir, programme)


@app.command("state")
def print_state(
    at: Annotated[
        str | None, typer.Option(help="RFC 3339 with offset: only events up to then, and the level of then.")
    ] = None,
    known_at: Annotated[str | None, typer.Option(help="... by what had been received then.")] = None,
) -> None:
    """Print one JSON object a member, sorted by member_id."""
    programme = _programme()
    at_us, known_us = _instant(at, "--at"), _instant(known_at, "--known-at")

    async def print_states() -> None:
        async with opened(_open_database) as conn:
            await terms.check(conn, programme)
            async for member in states(conn, programme, at_us, known_us, time.time_ns() // 1000):
                sys.stdout.write(msgspec.json.encode(member).decode() + "\n")

    run(print_states())


@app.command("verify")
def verify_database() -> None:
    """Check that every level follows from what was bought and given back; exit status 1 if not."""
    programme, kafka = _programme(), _kafka()

    async def report() -> bool:
        async with opened(_open_database) as conn:
            await terms.check(conn, programme)
            found = await verify(conn, programme, lambda: read_end_offsets(kafka, [PURCHASES_TOPIC, MEMBERS_TOPIC]))
        for line in found.lines():
            typer.echo(line)
        return found.is_clean

    if not run(report()):
        raise typer.Exit(1)


@app.command("republish")
def republish_timelines(
    member: Annotated[str | None, typer.Option(help="Only this member's.", metavar="MEMBER_ID")] = None,
    as_newer: Annotated[
        bool, typer.Option("--as-newer", help="Above every version before: an older backup was brought back.")
    ] = False,
) -> None:
    """Publish every timeline again, as it is now; harmless to whoever has it."""

    async def work() -> int:
        async with opened(_open_database) as conn:
            return await republish(conn, member, _tell, as_newer=as_newer)

    typer.echo(f"{run(work()):,} timelines republished")


@app.command("rebuild")
def rebuild_from_the_log(
    apply: Annotated[bool, typer.Option("--apply", help="Repair what differs, and publish timelines anew.")] = False,
    even_if_events_were_lost: Annotated[
        bool,
        typer.Option(
            "--even-if-the-log-lost-events", help="Repair although many rows are of events that are not in the log."
        ),
    ] = False,
) -> None:
    """Compute all rows anew from the beginning of the log, beside the live ones, and show how those differ.

    The service may run. Exit status 1 if something differs, with --apply if something still does.
    """
    settings, kafka, programme = load_settings(MigrationSettings), _kafka(), _programme()

    async def work() -> RebuildReport:
        async with opened(_open_database) as conn:
            await terms.check(conn, programme)
        rebuild = Rebuild(
            service=worker.SERVICE,
            owner_url=settings.migrations_database_url,
            kafka=kafka,
            subscriptions=subscriptions(programme),
            sides=MemberSides(),
            apply=apply,
            tell=_tell,
            even_if_events_were_lost=even_if_events_were_lost,
        )
        return await rebuild.run()

    with explained():
        report = run_batches(work())
    for line in report.lines("customer-status rebuild"):
        typer.echo(line)
    if not report.is_right:
        raise typer.Exit(1)


def _tell(line: str) -> None:
    typer.echo(line, err=True)


def _open_database() -> Coroutine[Any, Any, asyncpg.Connection]:
    settings = load_settings(CustomerStatusSettings)
    return connect(settings.database_url, application_name="customer-status-cli")


def _kafka() -> KafkaConfig:
    return load_settings(KafkaSettings).config()


app.add_typer(keys_app(_open_database), name="keys")
app.add_typer(dead_letters_app(_open_database, _kafka), name="dead-letters")
app.add_typer(partitions_app(_open_database), name="partitions")


def _programme() -> Programme:
    with explained(ProgrammeError):
        return load_programme(load_settings(ContractsSettings).dir / "programme.toml")


def _instant(text: str | None, option: str) -> int | None:
    if text is None:
        return None
    try:
        at_us = parse_instant(text)
        civil_day(at_us)  # the calendar ends where events do
        return at_us
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


if __name__ == "__main__":
    app()
