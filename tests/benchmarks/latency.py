"""From an event on Kafka to the balance readable over HTTP, at a steady rate, through one worker and one HTTP process.

The time of a sample runs from the broker's stamp of the record to the first answer that shows the new balance; the
account is asked again every few milliseconds, with a pause that is part of the figure. Samples are published by a
client of their own, at instants fixed beforehand, and know nothing of one another: one that fails or is slow delays no
other, and counts as having taken as long as it was waited for.

The load comes from one task that publishes all that is due and waits for the acknowledgement before it publishes what
is due then, so that never more than one such piece is under way.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx
from aiokafka import AIOKafkaProducer
from eventing.kafka import open_producer
from eventing.publishing import publish
from eventing.records import Message
from kundenclub.contracts import PURCHASES
from kundenclub.processes import ProcessFailed

from tests.benchmarks.processes import loyalty_api, run_command, running, worker
from tests.benchmarks.servers import Servers
from tests.benchmarks.workload import member_id, purchase

TICK_S = 0.01
SAMPLES_PER_S = 10
WARM_UP_S = 2.0
PAUSE_S = 0.003
LOST_S = 30.0
LOST_PERCENT = 5
MOST_AT_ONCE = 2_000
LEAST_OF_THE_RATE = 0.95


@dataclass(frozen=True)
class Latencies:
    """Milliseconds, ascending."""

    samples: list[float]

    def percentile(self, percent: int) -> float:
        """The sample that so many percent of them do not exceed."""
        return self.samples[min(len(self.samples) - 1, len(self.samples) * percent // 100)]


async def latencies(servers: Servers, *, members: int, rate: int, seconds: float) -> Latencies:
    """Publish `rate` purchases a second for so long and sample them. The log must have been read to its end.

    Raises ProcessFailed if the rate was not kept, or if more than a few samples were lost.
    """
    key = ("keys", "create", "--name", "benchmark", "--secret-env", "API_KEY", "--scope", "members:read")
    await run_command(servers.environment, "loyalty", *key)
    programs = [worker("loyalty"), loyalty_api(servers.environment)]
    headers = {"Authorization": f"Bearer {servers.environment['API_KEY']}"}
    async with (
        running(programs, servers.environment),
        open_producer(servers.kafka, "benchmark") as load,
        open_producer(servers.kafka, "benchmark-samples") as sampled,
        httpx.AsyncClient(
            base_url=servers.environment["LOYALTY_URL"], headers=headers, trust_env=False, timeout=LOST_S
        ) as http,
    ):
        events = Events(members)
        loading = asyncio.create_task(publish_at_rate(load, events, rate, WARM_UP_S + seconds))
        try:
            found = await _samples(sampled, http, events, seconds)
            published = await loading
        finally:
            loading.cancel()
    return judged(found, published, rate)


class Events:
    """Purchases whose members come in turn: one has no other event of the last thousands."""

    def __init__(self, members: int) -> None:
        self._members = members
        self._count = 0
        self._prefix = f"latency-{time.time_ns()}-"

    def next(self) -> Message:
        """One that occurs now."""
        self._count += 1
        member = member_id(self._count % self._members)
        return purchase(f"{self._prefix}{self._count:08}", member, datetime.now(UTC), (1_000, 25, 500))


async def publish_at_rate(producer: AIOKafkaProducer, events: Events, rate: int, seconds: float) -> float:
    """Publish all that is due, again and again; returns the events a second."""
    began, published = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - began) < seconds:
        due = min(MOST_AT_ONCE, round(rate * elapsed) - published)
        await publish(producer, [events.next() for _ in range(due)])
        published += due
        await asyncio.sleep(TICK_S)
    return published / (time.perf_counter() - began)


async def _samples(
    producer: AIOKafkaProducer, http: httpx.AsyncClient, events: Events, seconds: float
) -> list[float | BaseException]:
    began = time.perf_counter() + WARM_UP_S
    sampling = []
    for n in range(round(seconds * SAMPLES_PER_S)):
        await asyncio.sleep(max(0.0, began + n / SAMPLES_PER_S - time.perf_counter()))
        sampling.append(asyncio.create_task(_sample(producer, http, events.next())))
    return await asyncio.gather(*sampling, return_exceptions=True)


async def _sample(producer: AIOKafkaProducer, http: httpx.AsyncClient, event: Message) -> float:
    path = f"/v1/members/{event.key.decode()}"
    before = await _balance(http, path)
    there = await producer.send_and_wait(PURCHASES, key=event.key, value=event.value, headers=list(event.headers))
    async with asyncio.timeout(LOST_S):
        while await _balance(http, path) == before:
            await asyncio.sleep(PAUSE_S)
    return time.time() * 1000 - float(there.timestamp)


async def _balance(http: httpx.AsyncClient, path: str) -> int:
    answer = await http.get(path)
    answer.raise_for_status()
    return int(answer.json()["balance_points"])


def judged(found: Sequence[float | BaseException], published: float, rate: int) -> Latencies:
    """What samples and the load's events a second amount to. Raises ProcessFailed."""
    lost = [each for each in found if isinstance(each, BaseException)]
    if published < LEAST_OF_THE_RATE * rate:
        raise ProcessFailed(f"only {published:,.0f} of {rate:,} events a second could be published")
    if 100 * len(lost) > LOST_PERCENT * len(found):
        raise ProcessFailed(f"{len(lost)} of {len(found)} samples were lost, the first by {lost[0]!r}")
    return Latencies(sorted(LOST_S * 1000 if isinstance(each, BaseException) else each for each in found))
