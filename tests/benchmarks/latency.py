"""From an event on Kafka to the balance readable over HTTP, at a steady rate, through one worker and one HTTP process.

The time of a sample runs from the broker's stamp of the record to the first answer that shows the new balance; the
account is asked again every few milliseconds, with a pause that is part of the figure.
"""

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx
from aiokafka import AIOKafkaProducer
from eventing.kafka import open_producer
from eventing.publishing import publish
from eventing.records import Message
from kundenclub.contracts import PURCHASES

from tests.benchmarks.processes import loyalty_api, run_command, running, worker
from tests.benchmarks.servers import Servers
from tests.benchmarks.workload import member_id, purchase

TICK_S = 0.01
SAMPLE_EVERY_TICKS = 4
WARM_UP_S = 2.0
PAUSE_S = 0.003
LOST_S = 30.0


@dataclass(frozen=True)
class Latencies:
    """Milliseconds, ascending."""

    samples: list[float]

    def percentile(self, percent: int) -> float:
        """The sample that so many percent of them do not exceed."""
        return self.samples[min(len(self.samples) - 1, len(self.samples) * percent // 100)]


async def latencies(servers: Servers, *, members: int, rate: int, seconds: float) -> Latencies:
    """Publish `rate` purchases a second for so long and sample them. The log must have been read to its end."""
    key = ("keys", "create", "--name", "benchmark", "--secret-env", "API_KEY", "--scope", "members:read")
    await run_command(servers.environment, "loyalty", *key)
    programs = [worker("loyalty"), loyalty_api(servers.environment)]
    headers = {"Authorization": f"Bearer {servers.environment['API_KEY']}"}
    async with (
        running(programs, servers.environment),
        open_producer(servers.kafka, "benchmark") as producer,
        httpx.AsyncClient(
            base_url=servers.environment["LOYALTY_URL"], headers=headers, trust_env=False, timeout=LOST_S
        ) as http,
    ):
        run = _Run(producer, http, members, round(rate * TICK_S))
        samples = await run.samples(round((WARM_UP_S + seconds) / TICK_S))
    return Latencies(sorted(samples))


class _Run:
    def __init__(self, producer: AIOKafkaProducer, http: httpx.AsyncClient, members: int, events_a_tick: int) -> None:
        self._producer, self._http = producer, http
        self._members, self._events_a_tick = members, events_a_tick
        self._published = 0
        self._prefix = f"latency-{time.time_ns()}-"

    async def samples(self, ticks: int) -> list[float]:
        began = time.perf_counter()
        sampling: list[asyncio.Task[float]] = []
        publishing: list[asyncio.Task[None]] = []
        for tick in range(ticks):
            await asyncio.sleep(max(0.0, began + tick * TICK_S - time.perf_counter()))
            events = [self._next() for _ in range(self._events_a_tick)]
            publishing.append(asyncio.create_task(publish(self._producer, events[1:])))
            if tick % SAMPLE_EVERY_TICKS == 0 and tick * TICK_S >= WARM_UP_S:
                sampling.append(asyncio.create_task(self._sample(events[0])))
            else:
                publishing.append(asyncio.create_task(publish(self._producer, events[:1])))
        await asyncio.gather(*publishing)
        return list(await asyncio.gather(*sampling))

    def _next(self) -> Message:
        """The first event of a tick has a member that no other event of the last thousands has."""
        self._published += 1
        member = member_id(self._published % self._members)
        return purchase(f"{self._prefix}{self._published:08}", member, datetime.now(UTC), (1_000, 25, 500))

    async def _sample(self, event: Message) -> float:
        path = f"/v1/members/{event.key.decode()}"
        before = await self._balance(path)
        there = await self._producer.send_and_wait(
            PURCHASES, key=event.key, value=event.value, headers=list(event.headers)
        )
        async with asyncio.timeout(LOST_S):
            while await self._balance(path) == before:
                await asyncio.sleep(PAUSE_S)
        return time.time() * 1000 - float(there.timestamp)

    async def _balance(self, path: str) -> int:
        answer = await self._http.get(path)
        answer.raise_for_status()
        return int(answer.json()["balance_points"])
