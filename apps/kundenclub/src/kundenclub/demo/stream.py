"""Streams the prepared year through Kafka while both services run, and waits until all of it has had its effect."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from eventing.kafka import KafkaConfig
from eventing.progress import load_all

from kundenclub.caught_up import StillBehind, read_purchase_ends, wait_until_caught_up
from kundenclub.contracts import PURCHASES
from kundenclub.databases import Databases
from kundenclub.demo.board import Board, Standing
from kundenclub.demo.memory import tree_bytes
from kundenclub.errors import Explained
from kundenclub.lines import BadLine, read_line
from kundenclub.processes import Processes
from kundenclub.publisher import Publisher, open_publisher

POLL_S = 0.5
MEMORY_EVERY_S = 2.0
NO_PROGRESS_S = 120.0
CAUGHT_UP_TIMEOUT_S = 120.0
# A process is killed when this much of the year is handled.
KILLS = ((0.3, "loyalty-worker"), (0.6, "customer-status-worker"))


@dataclass
class Streamed:
    """What streaming the year took. `peak_memory_bytes` is of all processes together."""

    events: int = 0
    seconds: float = 0.0
    peak_memory_bytes: int = 0


class YearStream:
    """One run of the year."""

    def __init__(
        self,
        databases: Databases,
        kafka: KafkaConfig,
        topic_by_type: Mapping[str, str],
        processes: Processes,
        board: Board,
    ) -> None:
        self._databases = databases
        self._kafka = kafka
        self._topic_by_type = topic_by_type
        self._processes = processes
        self._board = board
        self._memory_bytes = 0
        self._memory_at = 0.0
        self._not_taken: list[str] = []
        self.result = Streamed()

    async def run(self, year: Path, total: int, *, kill_workers: bool) -> Streamed:
        """Publish the file and wait for both services. Raises KafkaError, NotPublished, StillBehind."""
        started = time.monotonic()
        kills = list(KILLS) if kill_workers else []
        with self._board.shown():
            async with open_publisher(self._kafka, self._refused) as publisher:
                publishing = asyncio.create_task(_publish(year, self._topic_by_type, publisher))
                try:
                    await self._watch(publisher, publishing, total, kills)
                finally:
                    publishing.cancel()
                    await asyncio.wait([publishing])
            ends = await read_purchase_ends(self._kafka)
            await wait_until_caught_up(self._databases, self._kafka, ends, CAUGHT_UP_TIMEOUT_S)
            self._board.show(await self._standing(publisher))
        self.result.events = publisher.acknowledged
        self.result.seconds = time.monotonic() - started
        return self.result

    async def _watch(
        self, publisher: Publisher, publishing: asyncio.Task[None], total: int, kills: list[tuple[float, str]]
    ) -> None:
        handled, changed_at = 0, time.monotonic()
        while True:
            standing = await self._standing(publisher)
            self._board.show(standing)
            if self._not_taken:
                raise NotPublished(f"{len(self._not_taken):,} events were not taken by Kafka: {self._not_taken[0]}")
            if publishing.done():
                publishing.result()
                if standing.lag <= 0:
                    return
            slower = min(standing.posted, standing.judged)
            if kills and slower > kills[0][0] * total:
                _, name = kills.pop(0)
                self._board.say(f"  kill -9 {name}")
                self._processes.kill(name)
            if slower > handled:
                handled, changed_at = slower, time.monotonic()
            elif time.monotonic() - changed_at > NO_PROGRESS_S:
                raise StillBehind(f"no progress for {NO_PROGRESS_S:.0f} s, {standing.lag:,} events behind")
            await asyncio.sleep(POLL_S)

    def _refused(self, number: int, reason: str) -> None:
        self._not_taken.append(f"line {number}: {reason}")

    async def _standing(self, publisher: Publisher) -> Standing:
        posted, judged = [
            sum(row.next_offset for row in await load_all(conn) if row.partition.topic == PURCHASES)
            for conn in self._databases
        ]
        [promoted] = await self._databases.customer_status.fetch(
            """SELECT count(*) FILTER (WHERE timeline @> '[{"level": "silver"}]') AS silver,
                      count(*) FILTER (WHERE timeline @> '[{"level": "gold"}]') AS gold
               FROM member WHERE timeline IS NOT NULL"""
        )
        if time.monotonic() - self._memory_at > MEMORY_EVERY_S:
            self._memory_bytes, self._memory_at = tree_bytes(), time.monotonic()
            self.result.peak_memory_bytes = max(self.result.peak_memory_bytes, self._memory_bytes)
        return Standing(
            publisher.acknowledged, posted, judged, promoted["silver"], promoted["gold"], self._memory_bytes
        )


class NotPublished(Explained):
    """Kafka did not take events of the year; the text says how many and why."""


async def _publish(year: Path, topic_by_type: Mapping[str, str], publisher: Publisher) -> None:
    with year.open("rb") as lines:
        for number, text in enumerate(lines, 1):
            line = read_line(number, text, topic_by_type)
            if isinstance(line, BadLine):
                raise NotPublished(f"line {number} of {year}: {line.reason}")
            await publisher.send(line.message, number)
    await publisher.flush()
