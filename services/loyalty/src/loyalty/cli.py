"""`loyalty`: everything an operator does with this service."""

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
from eventing.rebuild_report import RebuildReport
from eventing.settings import ContractsSettings, KafkaSettings, load_settings
from programme.calendar import civil_day
from programme.instants import parse_instant
from programme.terms import Programme, ProgrammeError, load_programme
from webapi.keys import keys_app

from loyalty import migrate as migrations
from loyalty.settings import ApiSettings, LoyaltySettings, MigrationSettings, WorkerSettings
from loyalty.terms import service as terms

app = typer.Typer(
    no_args_is_help=True,
    help="Points, ledger, rewards and vouchers.",
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def migrate() -> None:
    """Bring the database to the newest schema, as its owner."""
    settings = load_settings(MigrationSettings)
    with explained():
        migrations.upgrade(settings.migrations_database_url, settings.database_url)


@app.command()
def api() -> None:
    """Serve the HTTP API until told to stop."""
    from webapi.server import serve

    from loyalty.main import build

    settings, programme = load_settings(ApiSettings), _programme()
    configure_logs()
    serve(build(settings, programme), settings.http_host, settings.http_port, settings.metrics_port)


@app.command()
def worker() -> None:
    """Read the topics, post to the ledger and publish, until told to stop."""
    from loyalty.worker import run

    settings, kafka = load_settings(WorkerSettings), load_settings(KafkaSettings)
    programme, contracts = _programme(), load_settings(ContractsSettings).dir
    configure_logs()
    run(settings, kafka.config(), contracts, programme)


@app.command()
def state(
    at: Annotated[str | None, typer.Option(help="RFC 3339 with offset: events up to then, expiry as of then")] = None,
    known_at: Annotated[str | None, typer.Option(help="... by what had been received then")] = None,
) -> None:
    """Print one JSON object a member, sorted by member_id."""
    from loyalty.audit.state import states

    programme = _programme()
    at_us, known_us = _instant(at, "--at"), _instant(known_at, "--known-at")
    encoder = msgspec.json.Encoder()

    async def print_states() -> None:
        async with opened(_open_database) as conn:
            await terms.check(conn, programme)
            async for member in states(conn, programme, at_us, known_us, time.time_ns() // 1000):
                sys.stdout.write(encoder.encode(member).decode() + "\n")

    run(print_states())


@app.command()
def verify() -> None:
    """Check that every posted point follows from what is known; exit status 1 if not."""
    from eventing.log_ends import read_end_offsets

    from loyalty.audit.verify import verify as verify_all
    from loyalty.subscriptions import CUSTOMER_STATUS, PURCHASES

    programme, kafka = _programme(), load_settings(KafkaSettings).config()

    async def report() -> bool:
        async with opened(_open_database) as conn:
            await terms.check(conn, programme)
            found = await verify_all(conn, programme, lambda: read_end_offsets(kafka, [PURCHASES, CUSTOMER_STATUS]))
        for line in found.lines():
            typer.echo(line)
        return found.is_clean

    if not run(report()):
        raise typer.Exit(1)


@app.command()
def rebuild(
    apply: Annotated[bool, typer.Option("--apply", help="Repair what differs, and post what is due.")] = False,
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
    from loyalty.rebuild.run import rebuild_all

    settings, kafka, programme = load_settings(MigrationSettings), load_settings(KafkaSettings).config(), _programme()

    async def work() -> RebuildReport:
        async with opened(_open_database) as conn:
            await terms.check(conn, programme)
        return await rebuild_all(
            settings.migrations_database_url,
            kafka,
            programme,
            apply=apply,
            even_if_events_were_lost=even_if_events_were_lost,
            tell=lambda line: typer.echo(line, err=True),
        )

    with explained():
        report = run_batches(work())
    for line in report.lines("loyalty rebuild"):
        typer.echo(line)
    if not report.is_right:
        raise typer.Exit(1)


def _open_database() -> Coroutine[Any, Any, asyncpg.Connection]:
    return connect(load_settings(LoyaltySettings).database_url, application_name="loyalty-cli")


app.add_typer(keys_app(_open_database), name="keys")
app.add_typer(dead_letters_app(_open_database, lambda: load_settings(KafkaSettings).config()), name="dead-letters")
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
