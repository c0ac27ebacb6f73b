"""A member is erased while their tills go on: by HTTP and Kafka only, in both services, and for every later rebuild."""

import asyncio
from typing import Any

import httpx
import pytest
from eventing.kafka import KafkaConfig
from eventing.log_ends import read_end_offsets
from eventing.rebuild_log import LogReader

pytestmark = pytest.mark.asyncio(loop_scope="session")

TIMELINES = "kundenclub.customer-status"


def bought(member: str, number: int) -> dict[str, Any]:
    data = {
        "purchase_id": f"{member}-p{number}",
        "member_id": member,
        "occurred_at": f"2026-03-{number % 28 + 1:02}T12:00:00+01:00",
        "currency": "EUR",
        "lines": [{"product_class": "goods", "amount_cents": 40_000}],
    }
    return {"type": "kundenclub.purchase.completed.v1", "data": data}


async def values_of(system: Any, key: bytes) -> list[bytes | None]:
    """All that the log of timelines has of a key."""
    kafka, found = KafkaConfig(system.environment["KAFKA_BOOTSTRAP_SERVERS"]), list[bytes | None]()
    async with LogReader(kafka, "erasure", print) as log:
        for partition, end in (await read_end_offsets(kafka, [TIMELINES])).items():
            async for records in log.read(partition, await log.begins_at(partition), end, 1_000):
                found += [record.value for record in records if record.key == key]
    return found


async def test_a_member_is_erased_while_their_purchases_are_posted(system: Any) -> None:
    """Purchases go in all the time; nobody of the erased is left in either service, nor made anew by any of them."""
    prefix = "eras-"
    gone, stays = [f"{prefix}g{n}" for n in range(6)], f"{prefix}stays"
    headers = {"Authorization": f"Bearer {system.environment['API_KEY']}"}
    system.publish([bought(member, 0) for member in [*gone, stays]])
    system.settle()
    url = system.environment["LOYALTY_URL"]
    async with httpx.AsyncClient(base_url=url, headers=headers, trust_env=False, timeout=30) as loyalty:
        events = [bought(member, n) for n in range(1, 150) for member in [*gone, stays]]
        publishing = asyncio.create_task(asyncio.to_thread(system.publish, events))
        answers = await asyncio.gather(*[loyalty.delete(f"/v1/members/{member}") for member in gone])
        assert [answer.status_code for answer in answers] == [204] * len(gone)
        await publishing
        system.publish([bought(member, 200) for member in [*gone, stays]])
        system.settle()
        for service in ("loyalty", "customer-status"):
            assert set(system.state(service, prefix=prefix)) == {stays}
            rebuilt = system.run(service, "rebuild")
            assert prefix not in rebuilt.stdout, rebuilt.stdout
        report = (await loyalty.get("/v1/reports/liability")).json()
    assert report["ledger"]["is_reconciled"], report
    assert report["nameless"]["accounts"] >= len(gone)
    for member in gone:
        assert (await values_of(system, member.encode()))[-1] is None
