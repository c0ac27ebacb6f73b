"""Two clocks: what had happened by `--at`, as far as it was known by `--known-at` (docs/architecture.md, section 4)."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
from customer_status.audit.state import states
from devstack import ServiceDatabase
from devstack.forked_scripts import ForkedScripts
from eventing.records import Record
from msgspec.structs import replace
from programme.facts import Purchase
from programme.instants import parse_instant
from programme.state import state_of
from programme.terms import Programme

NOW_US = parse_instant("2026-11-22T00:00:00Z")
JANUARY, FEBRUARY, MARCH, APRIL = (f"2026-0{month}-10T10:00:00Z" for month in range(1, 5))


def received(record: Record, at: str) -> Record:
    """The record as if the log had stamped it at `at`."""
    return replace(record, timestamp_us=parse_instant(at))


async def then(
    conn: asyncpg.Connection, programme: Programme, at: str | None, known_at: str | None
) -> dict[str, dict[str, Any]]:
    at_us = None if at is None else parse_instant(at)
    known_us = None if known_at is None else parse_instant(known_at)
    found = [state async for state in states(conn, programme, at_us, known_us, NOW_US)]
    return {state.member_id: msgspec.to_builtins(state) for state in found}


async def test_a_purchase_counts_from_the_instant_it_was_received(
    conn: asyncpg.Connection, programme: Programme, feed: Any
) -> None:
    await feed(received(feed.purchase("M1", "p2", FEBRUARY, 1_000), FEBRUARY))
    await feed(received(feed.purchase("M1", "p1", JANUARY, 100_000), MARCH))
    just_before = "2026-03-10T09:59:59.999999Z"
    assert (await then(conn, programme, None, just_before))["M1"]["purchases"] == 1
    assert (await then(conn, programme, FEBRUARY, just_before))["M1"]["level"] == "basis"
    assert (await then(conn, programme, None, MARCH))["M1"]["purchases"] == 2
    assert (await then(conn, programme, FEBRUARY, MARCH))["M1"]["level"] == "silver"


async def test_a_return_counts_from_the_instant_it_was_received(
    conn: asyncpg.Connection, programme: Programme, feed: Any
) -> None:
    await feed(received(feed.purchase("M1", "p1", JANUARY, 100_000), JANUARY))
    await feed(received(feed.return_("M1", "r1", FEBRUARY, of="p1", complete=True), APRIL))
    assert (await then(conn, programme, MARCH, MARCH))["M1"]["level"] == "silver"
    assert (await then(conn, programme, MARCH, APRIL))["M1"]["level"] == "basis"
    assert (await then(conn, programme, JANUARY, APRIL))["M1"]["purchases"] == 1


async def test_a_return_that_was_known_first_waits_then_too(
    conn: asyncpg.Connection, programme: Programme, feed: Any
) -> None:
    await feed(received(feed.return_("M1", "r1", FEBRUARY, of="p1", complete=True), FEBRUARY))
    await feed(received(feed.purchase("M1", "p1", JANUARY, 100_000), MARCH))
    assert (await then(conn, programme, None, FEBRUARY))["M1"]["purchases"] == 0
    assert [step["level"] for step in (await then(conn, programme, None, MARCH))["M1"]["timeline"]] == [
        "basis",
        "silver",
        "basis",
    ]


async def test_a_member_nobody_had_heard_of_has_no_line(
    conn: asyncpg.Connection, programme: Programme, feed: Any
) -> None:
    await feed(received(feed.purchase("late", "p1", JANUARY, 1_000), MARCH))
    await feed(feed.joined("joined", FEBRUARY))
    assert list(await then(conn, programme, None, JANUARY)) == []
    assert list(await then(conn, programme, None, FEBRUARY)) == ["joined"]
    assert list(await then(conn, programme, JANUARY, MARCH)) == ["late"]
    assert list(await then(conn, programme, None, None)) == ["joined", "late"]


async def test_any_instant_gives_what_the_rules_make_of_what_was_known_then(
    conn: asyncpg.Connection, programme: Programme, feed: Any
) -> None:
    """A history in any order of arrival, asked for after every single arrival and at every date."""
    days = [f"2026-{month:02}-05T08:00:00Z" for month in range(1, 7)]
    bought = [(f"p{n}", day, 30_000 + 7_000 * n) for n, day in enumerate(days)]
    arrivals = [bought[n] for n in (3, 0, 5, 1, 4, 2)]
    facts = []
    for number, (purchase_id, day, cents) in enumerate(arrivals):
        stamp = f"2026-07-01T00:00:0{number}Z"
        await feed(received(feed.purchase("M1", purchase_id, day, cents), stamp))
        facts.append((parse_instant(stamp), Purchase("M1", purchase_id, parse_instant(day), {"goods": cents}, ())))
    for known_us, _ in facts:
        for at in days:
            at_us = parse_instant(at)
            counted = [fact for stamp, fact in facts if stamp <= known_us and fact.occurred_us <= at_us]
            found = [state async for state in states(conn, programme, at_us, known_us, NOW_US)]
            expected = state_of(programme, counted, at_us)
            assert [(s.level, s.purchases, s.digest, s.timeline) for s in found] == [
                (s.level, s.purchases, s.digest, s.to_json()["timeline"]) for s in expected
            ]


async def test_the_command_takes_both_clocks(
    database: ServiceDatabase, feed: Any, contracts: Path, tmp_path: Path, scripts: ForkedScripts
) -> None:
    await feed(received(feed.purchase("M1", "p1", JANUARY, 100_000), MARCH))

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        own = {"CUSTOMER_STATUS_DATABASE_URL": database.app_url, "CONTRACTS_DIR": str(contracts)}
        return scripts.run("customer-status", "state", *arguments, env={**os.environ, **own}, cwd=tmp_path, timeout=60)

    assert run("--known-at", FEBRUARY).stdout == ""
    told = json.loads(run("--at", FEBRUARY, "--known-at", "2026-03-10T11:00:00+01:00").stdout)
    assert (told["level"], told["purchases"]) == ("silver", 1)
    refused = run("--known-at", "yesterday")
    assert refused.returncode == 2
    assert "--known-at" in refused.stderr
