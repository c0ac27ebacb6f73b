"""`kundenclub simulate` and the running services come to the same bytes, by other ways."""

import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

SEED = 20261122
PREFIX = "sim-"
COMPLETED = "kundenclub.purchase.completed.v1"
RETURNED = "kundenclub.purchase.returned.v1"

pytestmark = pytest.mark.asyncio(loop_scope="session")


def history(chance: random.Random, members: int, events: int) -> list[dict[str, Any]]:
    """Purchases of seven years out of order, returns before and after them, repeats, conflicts and refused ones."""
    first, found = datetime(2020, 1, 1, tzinfo=UTC), []
    for number in range(events):
        is_return = chance.random() < 0.15
        bought = chance.randrange(events) if is_return else number
        whose = bought if chance.random() > 0.02 else number
        at = (first + timedelta(minutes=chance.randrange(6 * 525_600))).isoformat()
        data: dict[str, Any] = {
            "member_id": f"{PREFIX}{whose % members:03}",
            "purchase_id": f"{PREFIX}p{bought}",
            "occurred_at": at,
            "currency": "EUR",
            "lines": lines(chance),
        }
        if is_return:
            data |= {"return_id": f"{PREFIX}r{number}", "complete": chance.random() < 0.3}
        found.append({"type": RETURNED if is_return else COMPLETED, "data": data})
    found += chance.sample(found, events // 20)
    found += [changed(event, {"lines": lines(chance)}) for event in chance.sample(found, events // 50)]
    found += [changed(event, {"currency": "USD"}) for event in chance.sample(found, events // 50)]
    chance.shuffle(found)
    return found


def changed(event: dict[str, Any], content: dict[str, Any]) -> dict[str, Any]:
    return {"type": event["type"], "data": event["data"] | content}


def lines(chance: random.Random) -> list[dict[str, Any]]:
    classes = chance.choices(["goods", "food", "tobacco", "deposit", "unheard_of"], k=3)
    return [
        {"line": n, "product_class": name, "amount_cents": chance.randrange(1, 40_000)}
        for n, name in enumerate(classes)
    ]


@pytest.mark.parametrize("at", [None, "2024-03-01T00:00:00+01:00"])
async def test_simulate_prints_what_both_services_print(system: Any, tmp_path: Path, at: str | None) -> None:
    print(f"seed {SEED}")
    events = history(random.Random(SEED), members=60, events=1_500)
    system.publish(events)
    system.settle()
    file = tmp_path / "events.jsonl"
    file.write_text("".join(json.dumps(event) + "\n" for event in events))
    moment = ["--at", at] if at else []
    for service in ("loyalty", "customer-status"):
        simulated = system.run("kundenclub", "simulate", str(file), "--service", service, *moment)
        assert simulated.returncode == 0, simulated.stderr
        real = system.run(service, "state", *moment).stdout.splitlines(keepends=True)
        ours = [line for line in real if json.loads(line)["member_id"].startswith(PREFIX)]
        assert simulated.stdout.splitlines(keepends=True) == ours
        assert len(ours) == 60
    assert "conflicts" in simulated.stderr
    assert "refused: unsupported_currency" in simulated.stderr
