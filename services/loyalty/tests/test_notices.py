"""What ends soon or has ended is told once (rules 3.9 and 3.10), by a job that may be late, killed or run twice."""

import asyncio
import json
from pathlib import Path
from typing import Any

import asyncpg
from devstack import ServiceDatabase
from eventing.outbox import unpack
from eventing.testing import wait_until
from jsonschema import Draft202012Validator, FormatChecker
from loyalty.audit.verify import verify
from loyalty.notices.job import NoticeJob
from loyalty.notices.service import tell_expiring_points
from programme.instants import parse_instant
from programme.terms import Programme

DECEMBER_1_2029 = parse_instant("2029-12-01T23:00:00Z")
"""30 days of 24 hours before 2030 begins in Berlin."""
NEW_YEAR_2030 = parse_instant("2029-12-31T23:00:00Z")
SCHEMAS = Path(__file__).parents[3] / "contracts" / "schemas"


async def look(database: ServiceDatabase, programme: Programme, at_us: int) -> None:
    """The job looks, as two workers do at the same time."""
    jobs = [NoticeJob(database.app_url, programme, lambda: at_us) for _ in range(2)]
    await asyncio.gather(*[job.look(asyncio.Event()) for job in jobs])


async def told(conn: asyncpg.Connection) -> list[tuple[str, dict[str, Any]]]:
    """All events of ends, in order, each valid by its schema."""
    found = []
    for row in await conn.fetch("SELECT messages FROM outbox ORDER BY outbox_id"):
        for message in unpack(row["messages"]):
            name = (dict(message.headers)["ce_type"] or b"").decode()
            if name.endswith((".expired.v1", ".expiring-soon.v1")):
                data = json.loads(message.value or b"")
                schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text())
                Draft202012Validator(schema, format_checker=FormatChecker()).validate(data)
                found.append((name.removeprefix("kundenclub.").removesuffix(".v1"), data))
    return found


async def test_an_unused_voucher_is_told_before_its_end_and_at_it(
    till: Any, conn: asyncpg.Connection, database: ServiceDatabase, programme: Programme
) -> None:
    await till.bought("M1", "p1", 2000)
    ids = {name: (await till.voucher("M1", name)) for name in ("unused", "used", "cancelled")}
    await till.ask("redeem", ids["used"][0], "shop-1")
    await till.api.post(f"/v1/vouchers/{ids['cancelled'][1]}/cancel")
    unused = ids["unused"][1]
    balance = await till.balance("M1")
    await look(database, programme, DECEMBER_1_2029 - 1)
    assert await told(conn) == []
    await till.api.put("/v1/members/M2")
    for at_us in (DECEMBER_1_2029, NEW_YEAR_2030 - 1):
        await look(database, programme, at_us)
    # 1,500 of the points of 2026 are spent on vouchers, 500 of them came back: 1,000 are lost with the year.
    voucher, points = await told(conn)
    assert voucher == (
        "voucher.expiring-soon",
        {
            "member_id": "M1",
            "event_no": voucher[1]["event_no"],
            "voucher_id": unused,
            "value_cents": 500,
            "valid_until": "2029-12-31T23:00:00Z",
        },
    )
    assert (points[0], points[1]["points"], points[1]["expires_at"]) == (
        "points.expiring-soon",
        1000,
        "2029-12-31T23:00:00Z",
    )
    for at_us in (NEW_YEAR_2030, NEW_YEAR_2030 + 1):
        await look(database, programme, at_us)
    [expired] = (await told(conn))[2:]
    assert (expired[0], expired[1]["voucher_id"], expired[1]["expired_at"]) == (
        "voucher.expired",
        unused,
        "2029-12-31T23:00:00Z",
    )
    assert await till.balance("M1") == balance, "its points do not come back"
    assert (await verify(conn, programme)).is_clean


async def test_a_voucher_given_back_late_is_told_of_its_new_end_only(
    till: Any, conn: asyncpg.Connection, database: ServiceDatabase, programme: Programme
) -> None:
    """Used until after its end, then returned: 30 more days, and the old end is no end."""
    await till.bought("M1", "p1", 500)
    _, voucher_id = await till.voucher("M1")
    till.now_us = parse_instant("2029-12-30T12:00:00Z")
    await till.bought("M1", "p2", 20, voucher_id)
    await look(database, programme, NEW_YEAR_2030)
    assert [name for name, _ in await told(conn) if "voucher" in name] == []
    till.now_us = parse_instant("2030-01-05T12:00:00Z")
    await till.gave_all_back("M1", "p2")
    await look(database, programme, till.now_us)
    await look(database, programme, parse_instant("2030-02-03T23:00:00Z"))
    await look(database, programme, parse_instant("2030-02-04T23:00:00Z"))
    assert [(name, list(data.values())[-1]) for name, data in await told(conn)] == [
        ("voucher.expiring-soon", "2030-02-04T23:00:00Z"),
        ("voucher.expired", "2030-02-04T23:00:00Z"),
    ]


async def test_a_redemption_undone_after_the_end_is_an_end(
    till: Any, conn: asyncpg.Connection, database: ServiceDatabase, programme: Programme
) -> None:
    await till.bought("M1", "p1", 500)
    code, _ = await till.voucher("M1")
    till.now_us = NEW_YEAR_2030 - 1
    await till.ask("redeem", code, "shop-1")
    await look(database, programme, NEW_YEAR_2030)
    assert await told(conn) == []
    till.now_us = NEW_YEAR_2030
    assert await till.tell("undo", code, "shop-1") == "expired"
    await look(database, programme, NEW_YEAR_2030)
    assert [name for name, _ in await told(conn)] == ["voucher.expired"]


async def test_an_erased_member_is_told_nothing(
    till: Any, conn: asyncpg.Connection, database: ServiceDatabase, programme: Programme
) -> None:
    await till.bought("M1", "p1", 1000)
    await till.voucher("M1")
    owner = await asyncpg.connect(database.owner_url)
    await owner.execute("UPDATE account SET member_id = NULL")
    await owner.close()
    await look(database, programme, DECEMBER_1_2029)
    await look(database, programme, NEW_YEAR_2030)
    assert await told(conn) == []
    assert await tell_expiring_points(conn, programme, DECEMBER_1_2029 - 1) is None


async def test_the_workers_part_passes_over_what_it_cannot_read_and_runs_until_it_is_stopped(
    till: Any, conn: asyncpg.Connection, database: ServiceDatabase, programme: Programme
) -> None:
    await till.bought("broken", "p1", 500)
    await till.voucher("broken")
    await till.bought("M1", "p1", 500)
    await till.voucher("M1")
    await conn.execute("UPDATE account SET timeline = '[]' WHERE member_id = 'broken'")
    stop = asyncio.Event()
    job = asyncio.create_task(NoticeJob(database.app_url, programme, lambda: NEW_YEAR_2030).run(stop))

    async def one_is_told() -> bool:
        return [data["member_id"] for _, data in await told(conn)] == ["M1"]

    await wait_until(one_is_told)
    stop.set()
    await job
