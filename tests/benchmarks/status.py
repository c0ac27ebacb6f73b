"""(k) A member's status over HTTP, against pgbench that reads the same rows.

On generated members: ten purchases each, returns of some, every fifth silver, and a snapshot of classes. The limit of
a client's requests a second is switched off.
"""

import random
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from customer_status.segments.service import take_snapshot
from customer_status.status.store import STATUS
from programme.calendar import day_of
from programme.terms import load_programme

from tests.benchmarks.figures import Figure, Target, ratio
from tests.benchmarks.pgbench import run_pgbench
from tests.benchmarks.prepare import KEPT
from tests.benchmarks.processes import cpu_seconds, run_command, running, unlimited_api
from tests.benchmarks.raw_http import Door, ask_at_once, connected
from tests.benchmarks.rounds import MICRO, Plan
from tests.benchmarks.segments import fill
from tests.benchmarks.servers import CONTRACTS, Servers, database_of

SERVICE = "customer-status"
PURCHASES_EACH = 10
WARM_UP_S = 1.0
_MEMBER_ID = "'M' || lpad(:member ::text, 8, '0')"
SAME = f"""\
\\set member random(1, :members)
{STATUS.replace("$1", _MEMBER_ID).replace("$2", "current_date").strip()};
"""
# As one would write it by hand, and as it was when the bound was set.
PLAIN = f"""\
\\set member random(1, :members)
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
SELECT member.account_no, joined_at, timeline, newest.snapshot_date, abc, name, email, assigned_at
FROM member
LEFT JOIN contact_person USING (account_no)
LEFT JOIN (SELECT max(snapshot_date) AS snapshot_date FROM segment_snapshot WHERE snapshot_date <= current_date)
    AS newest ON true
LEFT JOIN segment_snapshot_member AS ranked
    ON ranked.snapshot_date = newest.snapshot_date AND ranked.account_no = member.account_no
WHERE member_id = {_MEMBER_ID}
\\gset
SELECT purchase_id, occurred_at, civil_date, eligible_cents, total_cents, returned_cents, returned_total_cents,
    returned_completely
FROM purchase WHERE account_no = :account_no ::bigint;
SELECT return_id, purchase_id, occurred_at, cents_by_class, complete
FROM purchase_return WHERE account_no = :account_no ::bigint;
COMMIT;
"""


async def measure(servers: Servers, plan: Plan) -> Mapping[str, float]:
    """Both on one database, which neither changes. Raises ProcessFailed."""
    await generate_members(servers, plan.members)
    key = ("keys", "create", "--name", "benchmark", "--secret-env", "API_KEY", "--scope", "members:read")
    await run_command(servers.environment, SERVICE, *key)
    samples: dict[str, float] = {}
    for name, count in (("k", 1), ("k2", 2)):
        samples |= await _asked(servers, plan, name, count)
    size = {"members": plan.members}
    plain = await run_pgbench(servers, SERVICE, PLAIN, plan.pgbench_seconds, size)
    same = await run_pgbench(servers, SERVICE, SAME, plan.pgbench_seconds, size)
    return samples | {"k_pgbench": plain.rate, "k_pgbench_same": same.rate}


async def _asked(servers: Servers, plan: Plan, name: str, count: int) -> dict[str, float]:
    """By so many HTTP processes."""
    requests, apis = _requests(servers, plan.members), [unlimited_api(SERVICE) for _ in range(count)]
    async with (
        running(apis, servers.environment) as processes,
        connected(*(api.url for api in apis)) as connections,
    ):
        await ask_at_once(connections, requests, WARM_UP_S)
        began = cpu_seconds(processes)
        found = await ask_at_once(connections, requests, plan.pgbench_seconds)
        worked = cpu_seconds(processes) - began
    return {
        name: found.rate,
        f"{name}_cpu": worked / found.count * MICRO,
        f"{name}_client_percent": found.client_percent,
    }


async def generate_members(servers: Servers, members: int) -> None:
    """Put members who bought and gave back into customer-status, in the place of all others."""
    await servers.reset(SERVICE, KEPT[SERVICE])
    async with servers.admin(database_of(SERVICE)) as conn:
        await conn.execute("TRUNCATE member, purchase, purchase_return RESTART IDENTITY CASCADE")
        await fill(conn, members, PURCHASES_EACH)
        async with conn.transaction():
            await take_snapshot(conn, load_programme(CONTRACTS / "programme.toml"), day_of(datetime.now(UTC).date()))
        await conn.execute("VACUUM (ANALYZE)")
        await conn.execute("CHECKPOINT")


def _requests(servers: Servers, members: int) -> Iterator[bytes]:
    door = Door(servers.environment["API_KEY"])
    chance = random.Random(1)
    while True:
        yield door.get(f"/v1/members/M{chance.randint(1, members):08}/status")


FIGURE = Figure(
    "k",
    measured={
        "k": "(k) statuses over HTTP, 32 connections, one HTTP process, requests/s",
        "k2": "(k) the same with two HTTP processes, requests/s",
        "k_pgbench": "(k) the same rows by pgbench, three statements in a snapshot, 16 clients, transactions/s",
        "k_pgbench_same": "(k) the service's one statement by pgbench, 16 clients, transactions/s",
        "k_cpu": "(k) processor time of the HTTP process, us a status",
        "k2_cpu": "(k) processor time of two HTTP processes, us a status",
        "k_client_percent": "(k) processor time of what asks one process, % of a core",
        "k2_client_percent": "(k) processor time of what asks two, % of a core",
    },
    measure=measure,
    targets=(
        Target("(k) statuses over HTTP / pgbench, 1 process", ratio("k", "k_pgbench"), 0.25, 0.25),
        Target("(k) statuses over HTTP / pgbench, 2 processes", ratio("k2", "k_pgbench"), 0.25, 0.25),
    ),
)
