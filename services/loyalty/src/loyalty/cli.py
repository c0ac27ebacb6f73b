"""`loyalty`: everything an operator does with this service."""

import sys
import time
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

import asyncpg
import msgspec
import typer
from eventing.cli import add_rebuild, dead_letters_app, partitions_app
from eventing.commands import configure_logs, explained, opened, parsed, run
from eventing.database import connect_or_explain
from eventing.rebuild_report import RebuildReport
from eventing.settings import ContractsSettings, KafkaSettings, load_settings
from programme.calendar import parse_civil_instant
from programme.terms import Programme, ProgrammeError, load_programme
from webapi.keys_cli import keys_app

from loyalty.scopes import SCOPES
from loyalty.settings import ApiSettings, ErasureSettings, LoyaltySettings, MigrationSettings, WorkerSettings
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
    from eventing.migrations import MigrationFailed

    from loyalty import migrate as migrations

    settings = load_settings(MigrationSettings)
    with explained(MigrationFailed):
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
    at_us = parsed(at, "--at", parse_civil_instant)
    known_us = parsed(known_at, "--known-at", parse_civil_instant)
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
def liability(
    at: Annotated[str | None, typer.Option(help="RFC 3339 with offset: what had happened up to then")] = None,
) -> None:
    """Print the points and vouchers that are outstanding, as JSON; exit status 1 if the ledger differs."""
    from eventing.database import allow_long_statements

    from loyalty.reports.service import liability as report
    from loyalty.reports.views import LiabilityView, liability_view

    programme, at_us = _programme(), parsed(at, "--at", parse_civil_instant)

    async def read() -> LiabilityView:
        async with opened(_open_database) as conn:
            await terms.check(conn, programme)
            async with conn.transaction(isolation="repeatable_read", readonly=True):
                await allow_long_statements(conn)
                return liability_view(await report(conn, programme, at_us, time.time_ns() // 1000))

    found = run(read())
    typer.echo(found.model_dump_json(indent=2))
    if not found.ledger.is_reconciled:
        raise typer.Exit(1)


def _rebuild(
    apply: bool, even_if_events_were_lost: bool, tell: Callable[[str], None]
) -> Coroutine[Any, Any, RebuildReport]:
    from loyalty.rebuild.run import rebuild_all

    settings, kafka, programme = load_settings(MigrationSettings), load_settings(KafkaSettings).config(), _programme()
    secret = load_settings(ErasureSettings).secret()

    async def work() -> RebuildReport:
        async with opened(_open_database) as conn:
            await terms.check(conn, programme)
        return await rebuild_all(
            settings.migrations_database_url,
            kafka,
            programme,
            secret,
            apply=apply,
            even_if_events_were_lost=even_if_events_were_lost,
            tell=tell,
        )

    return work()


def _open_database() -> Coroutine[Any, Any, asyncpg.Connection]:
    return connect_or_explain(load_settings(LoyaltySettings).database_url, application_name="loyalty-cli")


add_rebuild(app, "loyalty", _rebuild)
app.add_typer(keys_app(_open_database, SCOPES), name="keys")
app.add_typer(dead_letters_app(_open_database, lambda: load_settings(KafkaSettings).config()), name="dead-letters")
app.add_typer(partitions_app(_open_database), name="partitions")


def _programme() -> Programme:
    with explained(ProgrammeError):
        return load_programme(load_settings(ContractsSettings).dir / "programme.toml")


if __name__ == "__main__":
    app()
