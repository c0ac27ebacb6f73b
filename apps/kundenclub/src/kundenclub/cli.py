"""`kundenclub`: one command line over both services."""

import asyncio
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import asyncpg
import httpx
import typer
from aiokafka.errors import KafkaConnectionError, KafkaError
from devstack import DevstackError
from eventing.cli import topics_app
from eventing.commands import parsed
from eventing.settings import ContractsSettings, KafkaSettings, load_settings
from programme.calendar import parse_civil_instant
from programme.terms import ProgrammeError, load_programme
from rich.console import Console

from kundenclub.contracts import read_topic_by_type
from kundenclub.errors import Explained
from kundenclub.settings import DatabaseSettings

app = typer.Typer(
    no_args_is_help=True,
    help="The Kunden-Club as a whole: run it, feed it, show it, verify it.",
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(topics_app, name="topics")

Service = Literal["loyalty", "customer-status"]

# Told in one line (a failed process: with the end of its log), never with a stack trace.
_EXPLAINED = (
    Explained,
    DevstackError,
    KafkaError,
    OSError,
    ProgrammeError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.PostgresError,
    httpx.HTTPError,
)


@app.callback()
def _quiet_client() -> None:
    # The client logs each failed connection; the command says it once, in its own words.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)


@app.command()
def dev(
    keep: Annotated[bool, typer.Option("--keep", help="Go on with the data of the last run, and keep it.")] = False,
) -> None:
    """Run the whole system on fixed local ports until Ctrl-C."""
    from kundenclub.dev import dev as run_dev

    with _explained():
        run_dev(contracts=load_settings(ContractsSettings).dir, keep=keep, console=Console())


@app.command()
def demo(
    last_day: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="When the year ends.", show_default="yesterday")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of all that is made up around the real receipts.")] = 2017,
    kill_worker: Annotated[bool, typer.Option("--kill-worker", hidden=True)] = False,
) -> None:
    """Stream a year of real purchases through the whole system, and show and verify what comes out."""
    from kundenclub.demo.run import Options, yesterday
    from kundenclub.demo.run import demo as run_demo

    with _explained():
        contracts = load_settings(ContractsSettings).dir
        options = Options(contracts, last_day.date() if last_day else yesterday(), seed, kill_worker)
        if not run_demo(options, Console()):
            raise typer.Exit(1)


@app.command()
def publish(
    file: Annotated[str, typer.Argument(metavar="FILE", help='JSON lines {"type", "data"}; "-" is standard input.')],
) -> None:
    """Publish events to Kafka and tell what was acknowledged."""
    from kundenclub.publish import opened
    from kundenclub.publish import publish as publish_lines

    kafka = load_settings(KafkaSettings).config()
    with _explained():
        topics = read_topic_by_type(load_settings(ContractsSettings).dir)
        with opened(file) as stream:
            outcome = asyncio.run(publish_lines(stream, kafka, topics, Console(stderr=True)))
    for line in outcome.lines():
        typer.echo(line, err=bool(outcome.bad))
    if outcome.bad:
        raise typer.Exit(1)


@app.command()
def simulate(
    file: Annotated[str, typer.Argument(metavar="FILE", help='JSON lines {"type", "data"}; "-" is standard input.')],
    at: Annotated[str | None, typer.Option(help="RFC 3339 with offset: as of then, by events up to then.")] = None,
    service: Annotated[Service | None, typer.Option(help="Whose `state` to print.", show_default="loyalty")] = None,
    programme: Annotated[
        Path | None, typer.Option(metavar="TOML", help="Other terms: what they would have changed, by level.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="With --programme: as JSON.")] = False,
) -> None:
    """Compute what the services would make of events, without any server; counts what they would refuse."""
    from kundenclub.simulate import run

    if programme is None and as_json:
        raise typer.BadParameter("goes with --programme; states are JSON anyway", param_hint="--json")
    if programme is not None and service is not None:
        raise typer.BadParameter("--programme compares what both services know", param_hint="--service")
    at_us = parsed(at, "--at", parse_civil_instant)
    with _explained():
        contracts = load_settings(ContractsSettings).dir
        readable = run(file, contracts, at_us, service or "loyalty", programme, as_json)
    if not readable:
        raise typer.Exit(1)


@app.command()
def verify(
    wait: Annotated[float, typer.Option(help="Seconds to wait for services that are behind.")] = 60.0,
) -> None:
    """Check both services' numbers, and that they agree about every member; exit status 1 if not."""
    from kundenclub.verify import verify_system

    databases, kafka = load_settings(DatabaseSettings), load_settings(KafkaSettings).config()
    with _explained():
        programme = load_programme(load_settings(ContractsSettings).dir / "programme.toml")
        reports = asyncio.run(verify_system(databases, kafka, programme, wait))
    for line in (line for report in reports for line in report.lines()):
        typer.echo(line)
    if not all(report.is_clean for report in reports):
        raise typer.Exit(1)


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        raise typer.Exit(130) from None
    except _EXPLAINED as error:
        typer.echo(_told(error), err=True)
        raise typer.Exit(1) from None


def _told(error: BaseException) -> str:
    match error:
        case KafkaConnectionError():  # its own text is a list of Python objects
            return f"no Kafka broker answers at {os.environ.get('KAFKA_BOOTSTRAP_SERVERS', 'the address in .env')}"
        case OSError(filename=str(file), strerror=str(reason)):
            return f"{file}: {reason}"
        case _:
            return str(error) or type(error).__name__


if __name__ == "__main__":
    app()
