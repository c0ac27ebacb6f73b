"""`kundenclub demo`: a year of real purchases, a webshop checkout, and the proof that it all adds up."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryFile

import httpx
import msgspec
from devstack import launch_command
from eventing.kafka import KafkaConfig
from programme.terms import Programme, load_programme
from rich.console import Console

from kundenclub.caught_up import read_purchase_ends, wait_until_caught_up
from kundenclub.contracts import read_topic_by_type
from kundenclub.databases import Databases, open_databases
from kundenclub.demo.board import Board
from kundenclub.demo.checkout import TIMEOUT_S, Checkout, choose_cast
from kundenclub.demo.club import picture_of, read_club, segments_table
from kundenclub.demo.contacts import contacts_lines, contacts_table, give_consents, read_contacts
from kundenclub.demo.ledger_story import ledger_table, read_ledger
from kundenclub.demo.offers import Result, claim_offers, offers_table
from kundenclub.demo.picture import Picture
from kundenclub.demo.prepare import Prepared
from kundenclub.demo.receipts import BERLIN
from kundenclub.demo.stream import Streamed, YearStream
from kundenclub.demo.summary import best_members, members_by_level, points_lines, read_outcome, year_lines
from kundenclub.environment import free_ports
from kundenclub.interrupts import run, stop_signals_interrupt
from kundenclub.processes import Processes, ProcessFailed
from kundenclub.publisher import open_publisher
from kundenclub.stack import Stack, only_one, stack
from kundenclub.verify import verify

FOLDER = Path(".demo")
PICTURE = FOLDER / "club.png"
PREPARE_TIMEOUT_S = 180.0
CAUGHT_UP_TIMEOUT_S = 60.0
CONTACTS_TIMEOUT_S = 60.0
PICTURE_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Options:
    """How to run the demo. The same last day and seed give the same events."""

    contracts: Path
    last_day: date
    seed: int
    kill_workers: bool


def yesterday() -> date:
    """The last day that is over in Berlin."""
    return datetime.now(BERLIN).date() - timedelta(days=1)


def demo(options: Options, console: Console) -> bool:
    """Run it; whether everything verified. Raises what `stack`, `Processes` and the services' clients raise."""
    started = time.monotonic()
    with stop_signals_interrupt():
        return _Demo(options, console, started).run()


class _Demo:
    def __init__(self, options: Options, console: Console, started: float) -> None:
        self._options = options
        self._console = console
        self._started = started
        self._programme: Programme = load_programme(options.contracts / "programme.toml")
        self._year = FOLDER / "year.jsonl"

    def run(self) -> bool:
        self._heading("Setting up")
        contracts = self._options.contracts
        with (
            only_one(FOLDER),
            self._year_in_preparation() as preparing,
            stack(FOLDER, contracts=contracts, ports=free_ports(), keep=False, say=self._step) as up,
        ):
            return run(self._play(up, preparing))

    async def _play(self, up: Stack, preparing: "subprocess.Popen[bytes]") -> bool:
        self._step("starting loyalty and customer-status")
        values = up.environment
        kafka = KafkaConfig(values["KAFKA_BOOTSTRAP_SERVERS"])
        async with (
            Processes(up.programs, values, up.logs, self._say) as processes,
            open_databases(values["LOYALTY_DATABASE_URL"], values["CUSTOMER_STATUS_DATABASE_URL"]) as databases,
        ):
            self._step("preparing the year")
            prepared = await _prepared(preparing)
            self._step("ready")
            for line in year_lines(prepared):
                self._say(f"  {line}")
            streamed = await self._stream(databases, kafka, processes, prepared)
            await self._fingerprint(databases)
            protagonist = await self._checkout(up, databases, kafka)
            offers = await self._benefits(up, databases)
            picture = await self._summary(databases, protagonist)
            await self._benefits_summary(databases, kafka, offers)
            with self._drawing(picture) as drawing:
                verified = await self._verify(databases, kafka)
                await self._drawn(drawing)
        self._farewell(streamed, processes.restarts, verified)
        return verified

    async def _stream(
        self, databases: Databases, kafka: KafkaConfig, processes: Processes, prepared: Prepared
    ) -> Streamed:
        self._heading("A year of purchases through Kafka")
        total = prepared.tally.events
        stream = YearStream(
            databases, kafka, read_topic_by_type(self._options.contracts), processes, Board(self._console, total)
        )
        streamed = await stream.run(self._year, total, kill_workers=self._options.kill_workers)
        self._say(
            f"  {streamed.events:,} events published, posted and judged in {streamed.seconds:.1f} s"
            f" ({streamed.events / streamed.seconds:,.0f} events/s)."
        )
        return streamed

    async def _fingerprint(self, databases: Databases) -> None:
        outcome = await read_outcome(databases, self._programme)
        self._say(f"  Digest of all members' states in both services: {outcome.fingerprint()}")

    async def _checkout(self, up: Stack, databases: Databases, kafka: KafkaConfig) -> str:
        self._heading("At the webshop's checkout")
        cast = await choose_cast(databases.loyalty)
        async with (
            _http(up, "LOYALTY_URL") as loyalty,
            open_publisher(kafka, lambda order, reason: self._say(f"  order {order}: {reason}")) as publisher,
        ):
            await Checkout(loyalty, publisher, self._say).play(cast)
        await wait_until_caught_up(databases, kafka, await read_purchase_ends(kafka), CAUGHT_UP_TIMEOUT_S)
        return cast.protagonist

    async def _summary(self, databases: Databases, protagonist: str) -> Picture:
        self._heading("What came out")
        outcome = await read_outcome(databases, self._programme)
        self._console.print(members_by_level(outcome), "")
        for line in await points_lines(databases, outcome):
            self._say(line)
        self._console.print("", best_members(outcome), "")
        self._console.print(ledger_table(protagonist, await read_ledger(databases.loyalty, protagonist)), "")
        club = await read_club(databases, self._programme, self._options.last_day)
        self._console.print(segments_table(club))
        return picture_of(club, outcome.levels)

    async def _benefits(self, up: Stack, databases: Databases) -> list[Result]:
        """What members get for their level, and who agrees to be told of it: the worker looks while we sum up."""
        rows = await databases.customer_status.fetch("SELECT member_id FROM member WHERE member_id IS NOT NULL")
        async with _http(up, "CUSTOMER_STATUS_URL") as customer_status:
            offers = await claim_offers(customer_status)
            await give_consents(customer_status, [row["member_id"] for row in rows])
        return offers

    async def _benefits_summary(self, databases: Databases, kafka: KafkaConfig, offers: list[Result]) -> None:
        self._console.print("", offers_table(offers), "")
        members = await databases.customer_status.fetchval("SELECT count(*) FROM member WHERE member_id IS NOT NULL")
        contacts = await read_contacts(databases, kafka, self._programme, members, CONTACTS_TIMEOUT_S)
        self._console.print(contacts_table(contacts), "")
        for line in contacts_lines(contacts):
            self._say(line)

    async def _verify(self, databases: Databases, kafka: KafkaConfig) -> bool:
        self._heading("Does it add up?")
        reports = await verify(databases, kafka, self._programme, CAUGHT_UP_TIMEOUT_S)
        for report in reports:
            for line in report.lines():
                self._say(line)
        return all(report.is_clean for report in reports)

    def _farewell(self, streamed: Streamed, restarts: int, verified: bool) -> None:
        self._say("")
        if restarts:
            self._say(f"{restarts} killed processes were started again on the way.")
        self._say(
            f"{'Everything verified' if verified else 'NOT VERIFIED'} after"
            f" {time.monotonic() - self._started:.0f} s in all; {streamed.seconds:.0f} s of it streaming,"
            f" at most {streamed.peak_memory_bytes / 2**30:.2f} GiB of memory for everything."
        )

    @contextmanager
    def _year_in_preparation(self) -> Iterator["subprocess.Popen[bytes]"]:
        """A process of its own beside the start of the servers: its memory is free again when the year streams."""
        arguments = [str(self._year), self._options.last_day.isoformat(), str(self._options.seed)]
        command = launch_command([sys.executable, "-m", "kundenclub.demo.prepare", *arguments])
        preparing = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
        try:
            yield preparing
        finally:
            preparing.kill()
            preparing.communicate()
            self._year.unlink(missing_ok=True)

    @contextmanager
    def _drawing(self, picture: Picture) -> Iterator["subprocess.Popen[bytes]"]:
        """A process of its own beside `verify`: drawing costs seconds."""
        command = launch_command([sys.executable, "-m", "kundenclub.demo.picture", str(PICTURE)])
        with TemporaryFile() as data:
            data.write(msgspec.json.encode(picture))
            data.seek(0)
            drawing = subprocess.Popen(
                command, stdin=data, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
            )
        try:
            yield drawing
        finally:
            drawing.kill()
            drawing.communicate()

    async def _drawn(self, drawing: "subprocess.Popen[bytes]") -> None:
        _, errors = await asyncio.to_thread(drawing.communicate, timeout=PICTURE_TIMEOUT_S)
        if drawing.returncode != 0:
            raise ProcessFailed(f"the picture could not be drawn:\n{errors.decode(errors='replace').strip()}")
        self._say(f"Picture of the club: {PICTURE.resolve()}")

    def _heading(self, text: str) -> None:
        self._console.print(f"\n[bold]{text}[/bold]", highlight=False)

    def _step(self, text: str) -> None:
        self._say(f"  {time.monotonic() - self._started:5.1f} s  {text}")

    def _say(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)


def _http(up: Stack, address: str) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {up.environment['API_KEY']}"}
    return httpx.AsyncClient(base_url=up.environment[address], headers=headers, timeout=TIMEOUT_S, trust_env=False)


async def _prepared(preparing: "subprocess.Popen[bytes]") -> Prepared:
    output, errors = await asyncio.to_thread(preparing.communicate, timeout=PREPARE_TIMEOUT_S)
    if preparing.returncode != 0:
        raise ProcessFailed(f"the year could not be prepared:\n{errors.decode(errors='replace').strip()}")
    return msgspec.json.decode(output, type=Prepared)
