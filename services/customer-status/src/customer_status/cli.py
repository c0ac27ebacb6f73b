"""`customer-status`: everything an operator does with this service."""

import sys
import time
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

import asyncpg
import msgspec
import typer
from eventing.cli import add_rebuild, dead_letters_app, partitions_app, tell
from eventing.commands import configure_logs, explained, opened, parsed, run
from eventing.database import connect_or_explain
from eventing.kafka import KafkaConfig
from eventing.rebuild_report import RebuildReport
from eventing.settings import ContractsSettings, KafkaSettings, load_settings
from programme.calendar import parse_civil_instant
from programme.terms import Programme, ProgrammeError, load_programme
from webapi.keys_cli import keys_app

from customer_status.scopes import SCOPES
from customer_status.settings import (
    ApiSettings,
    CustomerStatusSettings,
    ErasureSettings,
    MigrationSettings,
    WorkerSettings,
)
from customer_status.terms import service as terms

app = typer.Typer(
    no_args_is_help=True,
    help="Levels: who is basis, silver or gold, and since when.",
    pretty_exceptions_enable=False,
)


@app.command("migrate")
def migrate_database() -> None:
    """Bring the database to the newest schema, as its owner."""
    from eventing.migrations import MigrationFailed

    from customer_status import migrate

    settings = load_settings(MigrationSettings)
    with explained(MigrationFailed):
        migrate.upgrade(settings.migrations_database_url, settings.database_url)


@app.command("api")
def serve_api() -> None:
    """Serve the HTTP API until told to stop."""
    from webapi.server import serve

    from customer_status.main import build

    settings, programme = load_settings(ApiSettings), _programme()
    configure_logs()
    serve(build(settings, programme), settings.http_host, settings.http_port, settings.metrics_port)


@app.command("worker")
def run_worker() -> None:
    """Read purchases and members, and publish the timelines they change, until told to stop."""
    from customer_status.worker import run

    settings, kafka, programme = load_settings(WorkerSettings), _kafka(), _programme()
    configure_logs()
    run(settings, kafka, load_settings(ContractsSettings).dir, programme)


@app.command("state")
def print_state(
    at: Annotated[
        str | None, typer.Option(help="RFC 3339 with offset: only events up to then, and the level of then.")
    ] = None,
    known_at: Annotated[str | None, typer.Option(help="... by what had been received then.")] = None,
) -> None:
    """Print one JSON object a member, sorted by member_id."""
    from customer_status.audit.state import states

    programme = _programme()
    at_us = parsed(at, "--at", parse_civil_instant)
    known_us = parsed(known_at, "--known-at", parse_civil_instant)

    async def print_states() -> None:
        async with opened(_open_database) as conn:
            await terms.check(conn, programme)
            async for member in states(conn, programme, at_us, known_us, time.time_ns() // 1000):
                sys.stdout.write(msgspec.json.encode(member).decode() + "\n")

    run(print_states())


@app.command("verify")
def verify_database() -> None:
    """Check that every level follows from what was bought and given back; exit status 1 if not."""
    from eventing.log_ends import read_end_offsets

    from customer_status.audit.verify import verify
    from customer_status.events import READ_TOPICS

    programme, kafka = _programme(), _kafka()

    async def report() -> bool:
        async with opened(_open_database) as conn:
            await terms.check(conn, programme)
            found = await verify(conn, programme, lambda: read_end_offsets(kafka, READ_TOPICS))
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
    from customer_status.rebuild.republish import republish

    async def work() -> int:
        async with opened(_open_database) as conn:
            return await republish(conn, member, tell, as_newer=as_newer)

    typer.echo(f"{run(work()):,} timelines republished")


def _rebuild(
    apply: bool, even_if_events_were_lost: bool, tell: Callable[[str], None]
) -> Coroutine[Any, Any, RebuildReport]:
    from eventing.rebuild import Rebuild

    from customer_status.rebuild.sides import MemberSides
    from customer_status.subscriptions import subscriptions
    from customer_status.worker import SERVICE

    settings, kafka, programme = load_settings(MigrationSettings), _kafka(), _programme()
    secret = load_settings(ErasureSettings).secret()

    async def work() -> RebuildReport:
        async with opened(_open_database) as conn:
            await terms.check(conn, programme)
        rebuild = Rebuild(
            service=SERVICE,
            owner_url=settings.migrations_database_url,
            kafka=kafka,
            subscriptions=subscriptions(programme, secret),
            sides=MemberSides(),
            apply=apply,
            tell=tell,
            even_if_events_were_lost=even_if_events_were_lost,
        )
        return await rebuild.run()

    return work()


def _open_database() -> Coroutine[Any, Any, asyncpg.Connection]:
    settings = load_settings(CustomerStatusSettings)
    return connect_or_explain(settings.database_url, application_name="customer-status-cli")


def _kafka() -> KafkaConfig:
    return load_settings(KafkaSettings).config()


add_rebuild(app, "customer-status", _rebuild)
app.add_typer(keys_app(_open_database, SCOPES), name="keys")
app.add_typer(dead_letters_app(_open_database, _kafka), name="dead-letters")
app.add_typer(partitions_app(_open_database), name="partitions")


def _programme() -> Programme:
    with explained(ProgrammeError):
        return load_programme(load_settings(ContractsSettings).dir / "programme.toml")


if __name__ == "__main__":
    app()
