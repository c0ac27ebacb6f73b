"""`verify` finds what it promises to find: each check is made to fail once."""

from typing import Any

import asyncpg
import pytest
from customer_status.audit.verify import verify
from devstack import ServiceDatabase
from eventing.records import Partition
from eventing.report import Report
from programme.terms import Programme

DAY = "2026-03-{:02}T10:00:00Z"
PURCHASES = "kundenclub.purchases"
DAYS = "members whose purchase days are those of their purchases"


@pytest.fixture
async def filled(conn: asyncpg.Connection, feed: Any) -> None:
    await feed(
        feed.purchase("M1", "p1", DAY.format(1), 100_000),
        feed.purchase("M2", "p2", DAY.format(1), 100_000),
        feed.return_("M1", "r1", DAY.format(2), of="p1", cents=100),
    )
    await conn.execute("INSERT INTO event_progress (topic, partition, next_offset) VALUES ($1, 0, 4)", PURCHASES)


async def ends() -> dict[Partition, int]:
    return {Partition(PURCHASES, 0): 4}


def wrong(report: Report) -> dict[str, list[str]]:
    return {finding.name: finding.examples for finding in report.differences.values() if finding.count}


def odd(report: Report) -> dict[str, list[str]]:
    return {finding.name: finding.examples for finding in report.anomalies.values() if finding.count}


async def test_a_right_database_is_clean(filled: None, conn: asyncpg.Connection, programme: Programme) -> None:
    report = await verify(conn, programme, ends)
    assert report.is_clean
    assert odd(report) == {}
    assert {finding.checked for finding in report.differences.values()} == {1, 2}


@pytest.mark.parametrize(
    ("damage", "check", "example"),
    [
        (
            "UPDATE member SET state = NULL WHERE member_id = 'M1'",
            "members whose levels are those of their purchases",
            "M1",
        ),
        (
            "UPDATE member SET timeline = NULL WHERE member_id = 'M1'",
            "members whose published timeline is that of their purchases",
            "M1",
        ),
        ("UPDATE member SET events = 3 WHERE member_id = 'M1'", "members whose events are counted", "M1"),
        (
            "UPDATE member SET waiting_returns = 1 WHERE member_id = 'M2'",
            "members whose waiting returns are counted",
            "M2",
        ),
        *(
            (f"UPDATE member SET {damage} WHERE member_id = 'M1'", DAYS, "M1")
            for damage in (
                "first_event_day = first_event_day + 1",
                "last_purchase_day = last_purchase_day + 1",
                "last_return_day = NULL",
                "purchase_days = '{}'",
                "kept_cents = '{100000}'",
                "purchase_months = '{2}'",
            )
        ),
        (
            """
            INSERT INTO offer (kind, title, description, least_level, opens_at, closes_at, claimed, invites,
                               changed_at, changed_by)
            VALUES ('discount', '', '', 'gold', now(), 'infinity', 1, true, now(), '')""",
            "offers whose claims are counted",
            "offer 1 counts 1",
        ),
        (
            "UPDATE purchase SET returned_cents = 99 WHERE purchase_id = 'p1'",
            "purchases whose sums are those of their returns",
            "M1 p1",
        ),
        (
            "UPDATE purchase SET returned_completely = true WHERE purchase_id = 'p2'",
            "purchases whose sums are those of their returns",
            "M2 p2",
        ),
        (
            "UPDATE purchase SET eligible_cents = 99 WHERE purchase_id = 'p2'",
            "purchases whose sums are those of their returns",
            "M2 p2",
        ),
        (
            "UPDATE purchase SET total_cents = 99 WHERE purchase_id = 'p2'",
            "purchases whose sums are those of their returns",
            "M2 p2",
        ),
        (
            "UPDATE purchase SET returned_total_cents = 0 WHERE purchase_id = 'p1'",
            "purchases whose sums are those of their returns",
            "M1 p1",
        ),
        (
            "UPDATE purchase SET civil_date = '2026-03-02' WHERE purchase_id = 'p1'",
            "purchases whose sums are those of their returns",
            "M1 p1",
        ),
        (
            "UPDATE purchase_return SET civil_date = '2026-03-01'",
            "returns whose sums are those of their lines",
            "M1 r1",
        ),
        (
            "UPDATE purchase_return SET total_cents = 99",
            "returns whose sums are those of their lines",
            "M1 r1",
        ),
        (
            "UPDATE event_progress SET next_offset = 5",
            "partitions read no further than the log goes",
            "kundenclub.purchases[0] 5",
        ),
    ],
)
async def test_damage_is_found_and_named(
    damage: str,
    check: str,
    example: str,
    filled: None,
    conn: asyncpg.Connection,
    database: ServiceDatabase,
    programme: Programme,
) -> None:
    await as_owner(database, damage)
    report = await verify(conn, programme, ends)
    assert not report.is_clean
    assert wrong(report) == {check: [example]}


async def test_a_lost_purchase_is_found(
    filled: None, conn: asyncpg.Connection, database: ServiceDatabase, programme: Programme
) -> None:
    await as_owner(database, "DELETE FROM purchase WHERE purchase_id = 'p2'")
    assert set(wrong(await verify(conn, programme, ends))) == {
        "members whose levels are those of their purchases",
        "members whose published timeline is that of their purchases",
        "members whose events are counted",
        DAYS,
    }


async def test_rows_of_no_member_are_found(
    filled: None, conn: asyncpg.Connection, database: ServiceDatabase, programme: Programme
) -> None:
    await as_owner(database, "DELETE FROM member")
    report = await verify(conn, programme, ends)
    assert wrong(report) == {
        "rows belong to a member": [
            "purchase p1 of account 1",
            "purchase p2 of account 2",
            "return r1 of account 1",
        ]
    }


async def test_messages_that_nobody_publishes_are_found(
    filled: None, conn: asyncpg.Connection, programme: Programme
) -> None:
    add = "INSERT INTO outbox (messages, message_count, created_at) VALUES ('', 0, now() - make_interval(secs => $1))"
    await conn.execute(add, 20)
    assert (await verify(conn, programme, ends)).is_clean
    await conn.execute(add, 40)
    assert list(wrong(await verify(conn, programme, ends))) == ["messages published in time"]


async def test_anomalies_are_listed_and_are_no_faults(
    conn: asyncpg.Connection, feed: Any, programme: Programme
) -> None:
    await feed(
        feed.purchase("A", "p1", DAY.format(1), 100),
        feed.purchase("B", "p1", DAY.format(1), 100),
        feed.return_("B", "r1", DAY.format(2), of="p1", cents=101),
        feed.return_("B", "r2", DAY.format(2), of="p9", cents=1),
        feed.purchase("B", "p2", DAY.format(2), -1),
        feed.purchase("B", "p3", DAY.format(2), 0, lines=[{"product_class": "moonshine", "amount_cents": 1}]),
        feed.purchase("B", "p3", DAY.format(2), 7),
    )
    report = await verify(conn, programme, None)
    assert report.is_clean
    assert odd(report) == {
        "purchase_id under two members": ["p1"],
        "more returned than bought": ["B p1"],
        "returns that wait for their purchase": ["B r2 of p9"],
        "purchases with a negative eligible sum": ["B p2"],
        "product classes the terms do not know": ["B p3 moonshine"],
        "open dead letters": ["1 kundenclub.purchases[0]@7 conflict"],
    }


async def test_an_erased_member_still_adds_up(
    filled: None, conn: asyncpg.Connection, database: ServiceDatabase, programme: Programme
) -> None:
    await as_owner(database, "UPDATE member SET member_id = NULL WHERE member_id = 'M1'")
    assert (await verify(conn, programme, ends)).is_clean
    await as_owner(database, "UPDATE member SET events = 7 WHERE member_id IS NULL")
    assert wrong(await verify(conn, programme, ends)) == {"members whose events are counted": ["erased account 1"]}


async def as_owner(database: ServiceDatabase, statement: str) -> None:
    """Damage that the application's role is not even able to do."""
    conn = await asyncpg.connect(database.owner_url)
    await conn.execute(statement)
    await conn.close()
