"""Damage of every kind is found by name and repaired while both services work (docs/architecture.md, 5.8)."""

import asyncio
import os
import re
from collections.abc import Sequence
from typing import Any

import asyncpg
import httpx
import pytest
from eventing.testing import wait_until
from kundenclub.processes import script_path

pytestmark = pytest.mark.asyncio(loop_scope="session")


def bought(member: str, purchase: str, day: str, cents: int, **more: Any) -> dict[str, Any]:
    data = {
        "purchase_id": purchase,
        "member_id": member,
        "occurred_at": f"{day}T12:00:00+01:00",
        "currency": "EUR",
        "lines": [{"product_class": "goods", "amount_cents": cents}],
    }
    return {"type": "kundenclub.purchase.completed.v1", "data": data | more}


def returned(member: str, return_id: str, of: str, day: str, cents: int) -> dict[str, Any]:
    data = {
        "return_id": return_id,
        "purchase_id": of,
        "member_id": member,
        "occurred_at": f"{day}T12:00:00+01:00",
        "lines": [{"product_class": "goods", "amount_cents": cents}],
    }
    return {"type": "kundenclub.purchase.returned.v1", "data": data}


def shopping(prefix: str) -> list[dict[str, Any]]:
    """Six members: silver after the first purchase, so the second is rated 10 %; one return, one that waits."""
    events = []
    for n in range(6):
        m = f"{prefix}{n}"
        events += [
            bought(m, f"{m}-p1", "2026-03-01", 100_000),
            bought(m, f"{m}-p2", "2026-03-05", 20_000),
            bought(m, f"{m}-p3", "2026-03-06", 3_000),
            returned(m, f"{m}-r1", f"{m}-p2", "2026-03-08", 5_000),
            returned(m, f"{m}-r2", f"{m}-p9", "2026-03-09", 1_000),
        ]
    return events


async def execute(url: str, statements: Sequence[str]) -> None:
    conn = await asyncpg.connect(url)
    try:
        for statement in statements:
            assert (await conn.execute(statement)) not in ("UPDATE 0", "DELETE 0"), statement
    finally:
        await conn.close()


def wait_until_handled(system: Any) -> None:
    """Whatever `kundenclub verify` finds wrong."""
    while "not handled yet" in system.run("kundenclub", "verify").stdout:
        pass


def summary(output: str) -> dict[str, int]:
    """Causes and how often, from the foot of the report."""
    counted = [line.strip().rsplit(": ", 1) for line in output.splitlines() if line.startswith("  ")]
    return {cause: int(count) for cause, count in counted}


CUSTOMER_STATUS_DAMAGE = [
    ("DELETE FROM purchase WHERE purchase_id = '{m}0-p1'", "missing purchase", "{m}0: missing purchase: {m}0-p1"),
    (
        "UPDATE purchase SET occurred_at = occurred_at + interval '1 hour' WHERE purchase_id = '{m}0-p2'",
        "purchase with other content",
        "{m}0: purchase with other content: {m}0-p2",
    ),
    (
        "UPDATE purchase SET returned_cents = 1 WHERE purchase_id = '{m}1-p2'",
        "wrong sum",
        "{m}1: wrong sum: {m}1-p2 returned_cents 1, due 5000",
    ),
    (
        "INSERT INTO purchase SELECT account_no, '{m}-x', occurred_at, received_at, cents_by_class, vouchers,"
        " eligible_cents, returned_cents, returned_completely, civil_date, total_cents, returned_total_cents"
        " FROM purchase WHERE purchase_id = '{m}1-p1'",
        "purchase nobody sent",
        "{m}1: purchase nobody sent: {m}-x",
    ),
    ("DELETE FROM purchase_return WHERE return_id = '{m}1-r1'", "missing return", "{m}1: missing return: {m}1-r1"),
    (
        "UPDATE purchase_return SET complete = true WHERE return_id = '{m}2-r2'",
        "return with other content",
        "{m}2: return with other content: {m}2-r2",
    ),
    (
        "UPDATE purchase_return SET return_id = '{m}-y' WHERE return_id = '{m}2-r1'",
        "return nobody sent",
        "{m}2: return nobody sent: {m}-y",
    ),
    ("UPDATE member SET state = NULL WHERE member_id = '{m}2'", "wrong levels", "{m}2: wrong levels"),
    (
        "UPDATE member SET timeline = NULL WHERE member_id = '{m}3'",
        "wrong timeline",
        "{m}3: wrong timeline: published basis, due basis > silver > basis",
    ),
    (
        "UPDATE member SET events = 99 WHERE member_id = '{m}3'",
        "wrong number of events",
        "{m}3: wrong number of events: 99, in the log 5",
    ),
    (
        "UPDATE member SET kept_cents[1] = 1 WHERE member_id = '{m}2'",
        "wrong purchase days",
        "{m}2: wrong purchase days",
    ),
    (
        "UPDATE member SET waiting_returns = 0 WHERE member_id = '{m}3'",
        "wrong number of waiting returns",
        "{m}3: wrong number of waiting returns: 0, in the log 1",
    ),
]


async def test_customer_status_is_rebuilt_from_the_log(system: Any) -> None:
    m = "rebuild-cs-"
    system.publish(shopping(m))
    system.settle()
    before = system.state("customer-status"), system.state("loyalty")
    clean = system.run("customer-status", "rebuild")
    assert (clean.returncode, summary(clean.stdout)) == (0, {}), clean.stdout + clean.stderr

    damage = [statement.format(m=m) for statement, _, _ in CUSTOMER_STATUS_DAMAGE]
    await execute(system.environment["CUSTOMER_STATUS_MIGRATIONS_DATABASE_URL"], damage)
    found = system.run("customer-status", "rebuild")
    assert found.returncode == 1, found.stdout + found.stderr
    for _, cause, line in CUSTOMER_STATUS_DAMAGE:
        assert line.format(m=m) in found.stdout.splitlines()
        assert cause in summary(found.stdout)
    repaired = system.run("customer-status", "rebuild", "--apply")
    assert repaired.returncode == 0, repaired.stderr
    assert summary(repaired.stdout) == summary(found.stdout)

    assert summary(system.run("customer-status", "rebuild").stdout) == {}
    system.settle()
    assert (system.state("customer-status"), system.state("loyalty")) == before


async def test_a_purchase_after_the_repair_moves_a_timeline_that_loyalty_takes(system: Any) -> None:
    """A count that was too high had made versions that would be newer than all to come."""
    m = "rebuild-gen-"
    system.publish(shopping(m))
    system.settle()
    url = system.environment["CUSTOMER_STATUS_MIGRATIONS_DATABASE_URL"]
    await execute(url, [f"UPDATE member SET events = 1000000 WHERE member_id = '{m}0'"])
    system.publish([bought(f"{m}0", f"{m}0-p4", "2026-04-01", 1_000)])
    wait_until_handled(system)
    assert system.run("customer-status", "rebuild", "--apply").returncode == 0
    system.publish(
        [bought(f"{m}0", f"{m}0-p5", "2026-04-02", 300_000), bought(f"{m}0", f"{m}0-p6", "2026-04-03", 1_000)]
    )
    system.settle()
    status = system.state("customer-status", prefix=m)[f"{m}0"]
    assert status["level"] == "gold"
    assert system.state("loyalty", prefix=m)[f"{m}0"]["digest"] == status["digest"]


async def test_republish_changes_nothing_for_who_has_everything(system: Any) -> None:
    m = "republish-"
    system.publish(shopping(m))
    system.settle()
    before = system.state("loyalty")
    entries = await entries_of(system)
    one = system.run("customer-status", "republish", "--member", f"{m}0")
    assert (one.returncode, one.stdout) == (0, "1 timelines republished\n"), one.stderr
    every = system.run("customer-status", "republish")
    assert every.returncode == 0, every.stderr
    assert int(every.stdout.split()[0].replace(",", "")) >= 5
    system.settle()
    assert system.state("loyalty") == before
    assert await entries_of(system) == entries
    unknown = system.run("customer-status", "republish", "--member", "nobody-knows-me")
    assert (unknown.returncode, unknown.stderr) == (1, "no timeline of nobody-knows-me was ever published\n")


async def test_republish_gives_loyalty_back_what_it_lost(system: Any) -> None:
    m = "republish-lost-"
    system.publish(shopping(m))
    system.settle()
    before = system.state("loyalty", prefix=m)
    forget = "UPDATE account SET timeline = NULL, timeline_generation = 0, timeline_events = 0 WHERE member_id = '{}'"
    wrong_rate = (
        "UPDATE purchase_position SET bonus_percent = 0 WHERE bonus_percent > 0 AND account_no ="
        " (SELECT account_no FROM account WHERE member_id = '{}')"
    )
    url = system.environment["LOYALTY_MIGRATIONS_DATABASE_URL"]
    await execute(url, [forget.format(f"{m}0"), wrong_rate.format(f"{m}0")])
    assert system.state("loyalty", prefix=m) != before
    assert system.run("customer-status", "republish").returncode == 0

    async def it_is_as_before() -> bool:
        return bool(system.state("loyalty", prefix=m) == before)

    await wait_until(it_is_as_before, timeout_s=60)
    system.settle()


async def test_republish_as_newer_is_taken_where_versions_began_again(system: Any) -> None:
    """As after an older backup of customer-status was brought back: loyalty has versions it no longer knows of."""
    m = "republish-newer-"
    system.publish(shopping(m))
    system.settle()
    ahead = f"UPDATE account SET timeline_generation = 7 WHERE member_id = '{m}0'"
    await execute(system.environment["LOYALTY_MIGRATIONS_DATABASE_URL"], [ahead])
    events = [bought(f"{m}0", f"{m}0-p4", "2026-04-01", 300_000), bought(f"{m}0", f"{m}0-p5", "2026-04-02", 10_000)]
    system.publish(events)
    wait_until_handled(system)
    digest = system.state("customer-status", prefix=m)[f"{m}0"]["digest"]
    assert system.state("loyalty", prefix=m)[f"{m}0"]["digest"] != digest
    assert system.run("customer-status", "republish", "--as-newer", "--member", f"{m}0").returncode == 0
    system.settle()
    assert system.state("loyalty", prefix=m)[f"{m}0"]["digest"] == digest


async def entries_of(system: Any) -> int:
    conn = await asyncpg.connect(system.environment["LOYALTY_DATABASE_URL"])
    try:
        count: int = await conn.fetchval("SELECT count(*) FROM ledger_entry")
    finally:
        await conn.close()
    return count


LOYALTY_DAMAGE = [
    ("DELETE FROM purchase_position WHERE purchase_id = '{m}0-p1'", "{m}0: missing purchase: {m}0-p1"),
    (
        "UPDATE purchase_position SET occurred_at = occurred_at - interval '1 hour' WHERE purchase_id = '{m}0-p2'",
        "{m}0: purchase with other content: {m}0-p2",
    ),
    (
        "UPDATE purchase_position SET returned_cents = 1 WHERE purchase_id = '{m}1-p2'",
        "{m}1: wrong sum: {m}1-p2 returned_cents 1, due 5000",
    ),
    (
        "UPDATE purchase_position SET bonus_percent = 20 WHERE purchase_id = '{m}1-p3'",
        "{m}1: wrong rate: {m}1-p3 20 %, due 10 %",
    ),
    (
        "UPDATE purchase_position SET posted_points = 7 WHERE purchase_id = '{m}1-p1'",
        "{m}1: wrong posted points: {m}1-p1 7, by its entries 1000",
    ),
    (
        "INSERT INTO purchase_position SELECT account_no, '{m}-x', occurred_at, received_at, cents_by_class, vouchers,"
        " eligible_cents, returned_cents, returned_completely, bonus_percent, posted_points"
        " FROM purchase_position WHERE purchase_id = '{m}2-p1'",
        "{m}2: purchase nobody sent: {m}-x",
    ),
    ("DELETE FROM purchase_return WHERE return_id = '{m}2-r1'", "{m}2: missing return: {m}2-r1"),
    (
        "UPDATE purchase_return SET return_id = '{m}-y' WHERE return_id = '{m}2-r2'",
        "{m}2: return nobody sent: {m}-y",
    ),
    (
        'UPDATE account SET timeline = \'[{{"after": null, "level": "basis"}}]\' WHERE member_id = \'{m}3\'',
        "{m}3: wrong timeline",
    ),
    ("UPDATE account SET balance_points = 5 WHERE member_id = '{m}3'", "{m}3: wrong balance: 5, by its entries 1198"),
    (
        "UPDATE account SET waiting_returns = 0 WHERE member_id = '{m}3'",
        "{m}3: wrong number of waiting returns: 0, in the log 1",
    ),
    ("UPDATE account SET last_purchase_at = NULL WHERE member_id = '{m}3'", "{m}3: wrong last purchase"),
    ("UPDATE account SET points_by_year = '{{}}' WHERE member_id = '{m}3'", "{m}3: wrong points by year"),
    (
        "UPDATE account SET expiry_year = 2099 WHERE member_id = '{m}5'",
        "{m}5: expiry posted up to a year to come: 2099",
    ),
    (
        # An entry that should never have been: nothing but another one takes it back.
        "INSERT INTO ledger_entry (account_no, entry_no, kind, points, purchase_id) SELECT account_no,"
        " last_entry_no + 1, 'purchase', 11, '{m}4-p1' FROM account WHERE member_id = '{m}4'",
        "{m}4: wrong points: {m}4-p1 1011 posted, 1000 due",
    ),
]


async def test_loyalty_is_rebuilt_from_the_log_and_its_ledger_only_added_to(system: Any) -> None:
    m = "rebuild-l-"
    system.publish(shopping(m))
    system.settle()
    before = system.state("loyalty")
    clean = system.run("loyalty", "rebuild")
    assert (clean.returncode, summary(clean.stdout)) == (0, {}), clean.stdout + clean.stderr
    ledger = await ledger_of(system)

    damage = [statement.format(m=m) for statement, _ in LOYALTY_DAMAGE]
    await execute(system.environment["LOYALTY_MIGRATIONS_DATABASE_URL"], damage)
    damaged = await ledger_of(system)
    found = system.run("loyalty", "rebuild")
    assert found.returncode == 1, found.stdout + found.stderr
    for _, line in LOYALTY_DAMAGE:
        assert line.format(m=m) in found.stdout.splitlines(), found.stdout
    repaired = system.run("loyalty", "rebuild", "--apply")
    assert repaired.returncode == 0, repaired.stderr
    assert summary(repaired.stdout) == summary(found.stdout)

    assert summary(system.run("loyalty", "rebuild").stdout) == {}
    system.settle()
    assert system.state("loyalty") == before
    after = await ledger_of(system)
    assert set(damaged) <= set(after)
    assert {row["kind"] for row in set(after) - set(damaged)} == {"rebuild"}
    assert set(ledger) <= set(after)


async def ledger_of(system: Any) -> list[asyncpg.Record]:
    conn = await asyncpg.connect(system.environment["LOYALTY_DATABASE_URL"])
    try:
        return list(await conn.fetch("SELECT * FROM ledger_entry"))
    finally:
        await conn.close()


@pytest.mark.parametrize(("service", "table"), [("loyalty", "account"), ("customer-status", "member")])
async def test_an_erased_member_is_told_of_and_never_made_anew(system: Any, service: str, table: str) -> None:
    m = f"rebuild-erased-{service}-"
    system.publish(shopping(m))
    system.settle()
    url = system.environment[f"{service.upper().replace('-', '_')}_MIGRATIONS_DATABASE_URL"]
    conn = await asyncpg.connect(url)
    try:
        erased = await conn.fetchval(f"SELECT account_no FROM {table} WHERE member_id = '{m}0'")
        await conn.execute(f"UPDATE {table} SET member_id = NULL WHERE account_no = $1", erased)
        for arguments in ((), ("--apply",)):
            done = system.run(service, "rebuild", *arguments)
            told = [line for line in done.stdout.splitlines() if line.startswith(m)]
            assert (done.returncode, told) == (1, [f"{m}0: known to the log only: erased, or its row is lost"])
            assert not await conn.fetchval(f"SELECT count(*) FROM {table} WHERE member_id = '{m}0'")
        await conn.execute(f"UPDATE {table} SET member_id = '{m}0' WHERE account_no = $1", erased)
    finally:
        await conn.close()
    assert system.run(service, "rebuild").returncode == 0


async def test_a_gap_in_the_numbers_of_entries_stays_and_is_told(system: Any) -> None:
    m = "rebuild-gap-"
    system.publish(shopping(m))
    system.settle()
    conn = await asyncpg.connect(system.environment["LOYALTY_MIGRATIONS_DATABASE_URL"])
    lost = f"account_no = (SELECT account_no FROM account WHERE member_id = '{m}0') AND entry_no = 2"
    try:
        [entry] = await conn.fetch(f"DELETE FROM ledger_entry WHERE {lost} RETURNING *")
        done = system.run("loyalty", "rebuild", "--apply")
        assert done.returncode == 1, done.stdout
        after = system.run("loyalty", "rebuild")
        assert [line.split(":")[1] for line in after.stdout.splitlines() if line.startswith(m)] == [
            " wrong numbers of entries"
        ]
        rebuilt = await conn.fetchval(f"SELECT entry_no FROM ledger_entry WHERE kind = 'rebuild' AND {lost[:-17]}")
        assert rebuilt is not None
        await conn.execute(f"DELETE FROM ledger_entry WHERE kind = 'rebuild' AND {lost[:-17]}")
        await conn.execute("INSERT INTO ledger_entry SELECT ($1::ledger_entry).*", tuple(entry))
        last = "(SELECT max(entry_no) FROM ledger_entry e WHERE e.account_no = account.account_no)"
        await conn.execute(f"UPDATE account SET last_entry_no = {last} WHERE member_id = '{m}0'")
    finally:
        await conn.close()
    system.settle()


async def test_the_vouchers_that_purchases_name_follow_them(system: Any) -> None:
    """A second use costs the owner again; the purchase that made it was lost, and another voucher's sum is wrong."""
    m = "rebuild-v-"
    system.publish(shopping(m))
    system.settle()
    ids = [await issue(system, f"{m}0"), await issue(system, f"{m}1")]
    named = [
        bought(f"{m}2", f"{m}2-use1", "2026-05-01", 2_000, vouchers=[ids[0]]),
        bought(f"{m}3", f"{m}3-use2", "2026-05-02", 2_000, vouchers=[ids[0]]),
    ]
    system.publish(named)
    system.settle()
    before = system.state("loyalty")
    assert before[f"{m}0"]["spent"] == 1000
    clean = system.run("loyalty", "rebuild")
    assert (clean.returncode, summary(clean.stdout)) == (0, {}), clean.stdout
    await execute(
        system.environment["LOYALTY_MIGRATIONS_DATABASE_URL"],
        [
            f"DELETE FROM purchase_position WHERE purchase_id = '{m}3-use2'",
            f"UPDATE voucher SET posted_points = 7 WHERE voucher_id = '{ids[1]}'",
            f"UPDATE account SET expired_points = 3 WHERE member_id = '{m}1'",
        ],
    )
    found = system.run("loyalty", "rebuild")
    assert f"{m}3: missing purchase: {m}3-use2" in found.stdout.splitlines()
    assert f"{m}1: wrong points of a voucher: {ids[1]} 7, by its entries 500, due 500" in found.stdout.splitlines()
    assert system.run("loyalty", "rebuild", "--apply").returncode == 0
    again = system.run("loyalty", "rebuild")
    assert (again.returncode, summary(again.stdout)) == (0, {}), again.stdout
    system.settle()
    assert system.state("loyalty") == before


async def test_without_its_timeline_a_member_is_not_touched(system: Any) -> None:
    m = "rebuild-gone-"
    system.publish(shopping(m))
    system.settle()
    before = system.state("loyalty", prefix=m)
    url = system.environment["LOYALTY_MIGRATIONS_DATABASE_URL"]
    await execute(url, [f"UPDATE account SET timeline_events = timeline_events + 100 WHERE member_id = '{m}0'"])
    told = system.run("loyalty", "rebuild")
    gone = f"{m}0: timeline no longer on its topic, run `customer-status republish` first"
    assert (told.returncode, told.stdout.splitlines()[0]) == (1, gone)
    refused = system.run("loyalty", "rebuild", "--apply")
    assert refused.returncode == 1
    assert f"the timelines of 1 members are no longer on kundenclub.customer-status ({m}0)" in refused.stderr
    await execute(url, [f"UPDATE account SET timeline_events = timeline_events - 100 WHERE member_id = '{m}0'"])
    assert system.run("loyalty", "rebuild").returncode == 0
    assert system.state("loyalty", prefix=m) == before


@pytest.mark.parametrize("service", ["loyalty", "customer-status"])
async def test_a_killed_rebuild_leaves_nothing_that_matters(system: Any, service: str) -> None:
    """The next run drops what it left; workers read on meanwhile, and both verify."""
    prefix = service.upper().replace("-", "_")
    m = f"rebuild-kill-{service}-"
    conn = await asyncpg.connect(system.environment[f"{prefix}_DATABASE_URL"])

    async def has_schema() -> bool:
        return bool(await conn.fetchval("SELECT count(*) FROM pg_namespace WHERE nspname = 'rebuild'"))

    try:
        system.publish(shopping(m))
        process = await asyncio.create_subprocess_exec(
            script_path(service), "rebuild", env={**os.environ, **system.environment}, stderr=asyncio.subprocess.PIPE
        )
        await wait_until(has_schema)
        process.kill()
        await process.communicate()
        assert await has_schema()
        done = system.run(service, "rebuild")
        assert (done.returncode, summary(done.stdout)) == (0, {}), done.stdout + done.stderr
        assert not await has_schema()
    finally:
        await conn.close()
    system.settle()


async def test_the_workers_verify_samples(system: Any) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:

        async def both_have() -> bool:
            urls = [url.replace("/readyz", "/metrics") for url in system.ready_urls[:2]]
            pages = [(await client.get(url)).text for url in urls]
            counted = [re.search(r"^eventing_verify_sampled_total (\S+)$", page, re.MULTILINE) for page in pages]
            return all(count is not None and float(count[1]) > 0 for count in counted)

        await wait_until(both_have)


async def issue(system: Any, member: str) -> str:
    """Spend 500 points; returns the voucher_id."""
    headers = {"Authorization": f"Bearer {system.environment['API_KEY']}", "Idempotency-Key": f"rebuild-{member}"}
    async with httpx.AsyncClient(base_url=system.environment["LOYALTY_URL"], trust_env=False) as loyalty:
        answer = await loyalty.post(f"/v1/members/{member}/rewards", json={"reward": "voucher-5"}, headers=headers)
    assert answer.status_code in (200, 201), answer.text
    voucher_id: str = answer.json()["voucher_id"]
    return voucher_id
