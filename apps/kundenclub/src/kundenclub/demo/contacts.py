"""Whom the newsletter system is told to write to: some members agree to be contacted, and the worker recommends."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx
import msgspec
from customer_status.contacts.service import held_back_this_month
from eventing.kafka import KafkaConfig
from eventing.log_ends import read_end_offsets
from eventing.rebuild_log import LogReader
from programme.contacts import CONTACT_KINDS
from programme.terms import Programme
from rich.table import Table

from kundenclub.databases import Databases
from kundenclub.demo.checkout import body_of
from kundenclub.demo.receipts import BERLIN
from kundenclub.errors import Explained
from kundenclub.together import some_at_once

TOPIC = "kundenclub.contacts"
AGREES_EVERY = 6
POLL_S = 0.2
RECORDS_AT_ONCE = 1_000
REASON_IN_WORDS = {
    "promotion": "is {level} since {since}",
    "welcome": "joined at {joined_at}",
    "lapse_warning": "will be {next_level} after {lapses_at}, unless {missing_points} more points are collected",
    "lapse": "is {level} since {since}, {previous_level} before",
    "reactivation": "bought on {purchased_on}, after more than a year",
    "at_risk": "has been silent since {purchased_on}, for longer than usual",
    "invitation": "may claim {title}, until {closes_at}",
    "survey": "bought {purchase_id}: how was it?",
    "voucher_expiring": "has a voucher that ends at {valid_until}",
    "points_expiring": "loses {points} points at {expires_at}",
}


class NotRecommended(Explained):
    """The worker did not come to look at everybody who agreed; the text says how many are left."""


@dataclass(frozen=True)
class Contacts:
    """What was recommended, as it is on the topic, and what was not."""

    told: Sequence[dict[str, Any]]
    members: int
    agreed: int
    held_back: int
    held_back_members: int
    most_a_month: int


async def give_consents(customer_status: httpx.AsyncClient, member_ids: Sequence[str]) -> int:
    """Every sixth of these members agrees to be written to, by e-mail. How many that are."""
    agreeing = sorted(member_ids)[::AGREES_EVERY]
    decided_at = datetime.now(BERLIN).isoformat()
    consent = {"channel": "email", "granted": True, "source": "asked at the till", "decided_at": decided_at}
    body = {"consents": [consent]}
    answers = await some_at_once(
        customer_status.put(f"/v1/members/{member_id}/consent", json=body) for member_id in agreeing
    )
    return len([body_of(answer, 200) for answer in answers])


async def read_contacts(
    databases: Databases, kafka: KafkaConfig, programme: Programme, members: int, timeout_s: float
) -> Contacts:
    """Once the worker has looked at everybody who agreed. Raises NotRecommended, KafkaError."""
    conn = databases.customer_status
    await _looked_at_all(databases, timeout_s)
    at_us = time.time_ns() // 1000
    agreed = await conn.fetchval("SELECT count(*) FROM contact_watch")
    held_back = await held_back_this_month(conn, programme, at_us)
    return Contacts(
        told=await _on_topic(kafka),
        members=members,
        agreed=agreed,
        held_back=sum(map(len, held_back.values())),
        held_back_members=len(held_back),
        most_a_month=programme.at(at_us).contacts.most_a_month,
    )


def contacts_table(contacts: Contacts) -> Table:
    """How many of each kind, the more important first, with one of them told."""
    table = Table(
        title="Contacts recommended to the newsletter system",
        title_justify="left",
        box=None,
        pad_edge=False,
        header_style="bold",
    )
    table.add_column("kind", no_wrap=True)
    table.add_column("contacts", justify="right", no_wrap=True)
    table.add_column("for example")
    counts = Counter(each["kind"] for each in contacts.told)
    for kind in CONTACT_KINDS:
        if counts[kind]:
            example = min((each for each in contacts.told if each["kind"] == kind), key=lambda each: each["member_id"])
            table.add_row(kind, f"{counts[kind]:,}", in_words(example))
    return table


def contacts_lines(contacts: Contacts) -> list[str]:
    """Where they are, and what was not recommended."""
    return [
        f"{len(contacts.told):,} contacts on {TOPIC}, for {len({each['member_id'] for each in contacts.told}):,}"
        f" of the {contacts.agreed:,} members who agreed to be contacted.",
        f"Withheld: all of the {contacts.members - contacts.agreed:,} members who did not agree; {contacts.held_back:,}"
        f" more of {contacts.held_back_members:,} members who were told {contacts.most_a_month} this month,"
        f" the most that the terms allow.",
    ]


def in_words(contact: dict[str, Any]) -> str:
    """Why a contact is recommended."""
    return f"{contact['member_id']} " + REASON_IN_WORDS[contact["kind"]].format(**contact["reason"])


async def _looked_at_all(databases: Databases, timeout_s: float) -> None:
    conn, deadline = databases.customer_status, time.monotonic() + timeout_s
    while left := await conn.fetchval(
        "SELECT count(*) FROM contact_watch WHERE looked_at = '-infinity' OR look_at <= now()"
    ):
        if time.monotonic() > deadline:
            raise NotRecommended(f"{left} members who agreed to be contacted were not looked at in {timeout_s:.0f} s")
        await asyncio.sleep(POLL_S)
    newest = await conn.fetchval("SELECT max(outbox_id) FROM outbox")
    while newest and await conn.fetchval("SELECT EXISTS (SELECT FROM outbox WHERE outbox_id <= $1)", newest):
        if time.monotonic() > deadline:
            raise NotRecommended(f"contacts wait for more than {timeout_s:.0f} s to be published")
        await asyncio.sleep(POLL_S)


async def _on_topic(kafka: KafkaConfig) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    ends = await read_end_offsets(kafka, [TOPIC])
    async with LogReader(kafka, "demo-contacts", print) as log:
        for partition, end in ends.items():
            async for records in log.read(partition, await log.begins_at(partition), end, RECORDS_AT_ONCE):
                found += [msgspec.json.decode(record.value) for record in records if record.value is not None]
    return found
