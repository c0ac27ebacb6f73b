"""`kundenclub verify`: both services' own checks, and whether the two agree about every member."""

import time
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import asyncpg
import customer_status.audit.state
import customer_status.audit.verify
import loyalty.audit.state
import loyalty.audit.verify
from eventing.kafka import KafkaConfig
from eventing.log_ends import read_end_offsets
from eventing.report import Report
from programme.terms import Programme

from kundenclub.caught_up import Ends, StillBehind, events_behind, read_purchase_ends, wait_until_caught_up
from kundenclub.contracts import CUSTOMER_STATUS, LOYALTY, MEMBERS, PURCHASES
from kundenclub.databases import Databases, open_databases
from kundenclub.settings import DatabaseSettings

# Each round waits until the services have passed a new end. Members who buy all the time may differ in one of them
# by what came in between; a difference that is no matter of time is there in all.
ROUNDS = 3
DIGEST_SHOWN = 12


class Known(NamedTuple):
    """What a service knows of a member's purchases, remaining amounts and rates."""

    purchases: int
    digest: str


States = Mapping[str, Known]


class Difference(NamedTuple):
    """Where the services do not agree about a member; None: the service does not know the member."""

    member_id: str
    loyalty: Known | None
    customer_status: Known | None

    def __str__(self) -> str:
        sides = [("loyalty", self.loyalty), ("customer-status", self.customer_status)]
        told = [
            f"{service}: {known.purchases} purchases, digest {known.digest[:DIGEST_SHOWN]}"
            if known
            else f"{service}: unknown"
            for service, known in sides
        ]
        return f"{self.member_id}: {'; '.join(told)}"


async def verify_system(
    settings: DatabaseSettings, kafka: KafkaConfig, programme: Programme, wait_s: float
) -> list[Report]:
    """`verify` over the databases of the settings. Raises DatabaseAway, KafkaError."""
    urls = str(settings.loyalty_database_url), str(settings.customer_status_database_url)
    async with open_databases(*urls) as databases:
        return await verify(databases, kafka, programme, wait_s)


async def verify(databases: Databases, kafka: KafkaConfig, programme: Programme, wait_s: float) -> list[Report]:
    """The reports of loyalty, of customer-status, and of their agreement; `wait_s` bounds the wait of each round."""
    return [
        await loyalty.audit.verify.verify(
            databases.loyalty, programme, lambda: read_end_offsets(kafka, [PURCHASES, CUSTOMER_STATUS])
        ),
        await customer_status.audit.verify.verify(
            databases.customer_status, programme, lambda: read_end_offsets(kafka, [PURCHASES, MEMBERS, LOYALTY])
        ),
        await compare(databases, kafka, programme, wait_s),
    ]


async def compare(databases: Databases, kafka: KafkaConfig, programme: Programme, wait_s: float) -> Report:
    """Whether both services tell the same of every member. What is only late is waited for, and does not count."""
    report = Report("loyalty and customer-status agree")
    purchase_ends = await read_purchase_ends(kafka)
    members, differences = await _compare_once(databases, programme)
    report.check("members with equal digests in both services").checked = members
    for _ in range(ROUNDS):
        if not differences:
            break
        try:
            await wait_until_caught_up(databases, kafka, purchase_ends, wait_s)
        except StillBehind as behind:
            report.check("services that caught up with the log").add(str(behind))
            # Nothing is proven of these members: they may differ only because one service is late.
            for line in await _explained(databases, differences):
                report.anomaly("members that differ while a service is behind").add(line)
            differences = {}
            break
        purchase_ends = await read_purchase_ends(kafka)
        _, found = await _compare_once(databases, programme)
        differences = {member_id: found[member_id] for member_id in differences.keys() & found.keys()}
    for line in await _explained(databases, differences):
        report.check("members with equal digests in both services").add(line)
    await _note_lag(report, databases, purchase_ends)
    return report


async def read_states(databases: Databases, programme: Programme) -> tuple[States, States]:
    """What each service knows of each member, now."""
    now_us = time.time_ns() // 1000
    first = loyalty.audit.state.states(databases.loyalty, programme, None, None, now_us)
    second = customer_status.audit.state.states(databases.customer_status, programme, None, None, now_us)
    return (
        {state.member_id: Known(state.purchases, state.digest) async for state in first},
        {state.member_id: Known(state.purchases, state.digest) async for state in second},
    )


async def _compare_once(databases: Databases, programme: Programme) -> tuple[int, dict[str, Difference]]:
    """The number of members, and those who differ."""
    first, second = await read_states(databases, programme)
    members = sorted(first.keys() | second.keys())
    return len(members), {
        member_id: Difference(member_id, first.get(member_id), second.get(member_id))
        for member_id in members
        if first.get(member_id) != second.get(member_id)
    }


async def _explained(databases: Databases, differences: Mapping[str, Difference]) -> Iterator[str]:
    """Each difference, with the open dead letters of that member: an event that one of the two did not take."""
    causes: dict[str, list[str]] = {}
    for service, conn in databases.named():
        for member_id, letter in await _open_dead_letters(conn, list(differences)):
            causes.setdefault(member_id, []).append(f"{service}'s {letter}")
    return (
        f"{difference}; likely cause: {', '.join(causes[member_id])}" if member_id in causes else str(difference)
        for member_id, difference in sorted(differences.items())
    )


async def _open_dead_letters(conn: asyncpg.Connection, member_ids: list[str]) -> list[tuple[str, str]]:
    rows = await conn.fetch(
        """SELECT convert_from(key, 'UTF8') AS member_id, dead_letter_id, reason FROM dead_letter
           WHERE state = 'open' AND key = ANY($1::bytea[]) ORDER BY dead_letter_id""",
        [member_id.encode() for member_id in member_ids],
    )
    return [(row["member_id"], f"dead letter {row['dead_letter_id']} ({row['reason']})") for row in rows]


async def _note_lag(report: Report, databases: Databases, purchase_ends: Ends) -> None:
    for service, conn in databases.named():
        behind = await events_behind(conn, purchase_ends)
        if behind:
            report.anomaly("purchase events not handled yet").add(f"{service}: {behind:,}")
