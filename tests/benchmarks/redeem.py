"""(j) Points turned into vouchers over HTTP: how many a second, and how long one takes while purchases are posted.

Everybody is given points by rows as the worker writes them, and the members come in a random order, each again only
when all had a turn. The limit of a client's requests a second is switched off. Against it, pgbench writes the same rows
by one statement a transaction: account, entry, voucher, remembered answer and outbox row, as long as the service's.
"""

import random
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from typing import NamedTuple
from uuid import uuid4

from kundenclub.processes import ProcessFailed

from tests.benchmarks.figures import Figure, Target, ratio
from tests.benchmarks.latency import Latencies
from tests.benchmarks.pgbench import run_pgbench
from tests.benchmarks.posting import posted, posting
from tests.benchmarks.prepare import KEPT
from tests.benchmarks.processes import cpu_seconds, run_command, running, unlimited_api, worker
from tests.benchmarks.raw_http import Answered, Door, ask_at_once, ask_at_rate, connected
from tests.benchmarks.rounds import MICRO, Plan
from tests.benchmarks.servers import Servers
from tests.benchmarks.workload import member_id

RICH = "loyalty_rich"
POINTS = 1_000_000
WARM_UP_S = 1.0
REDEEMS_PER_S = 50
BODY = b'{"reward":"voucher-5"}'
SCRIPT = """\
\\set member random(0, :members - 1)
WITH changed AS (
  UPDATE account a SET balance_points = balance_points - 500, last_entry_no = last_entry_no + 1,
    last_event_no = last_event_no + 1,
    points_by_year = points_by_year || jsonb_build_object(to_char(now(), 'YYYY'), jsonb_build_array(
      coalesce((points_by_year -> to_char(now(), 'YYYY') ->> 0)::bigint, 0),
      coalesce((points_by_year -> to_char(now(), 'YYYY') ->> 1)::bigint, 0) + 500))
  WHERE member_id = 'M' || lpad(:member ::text, 7, '0') AND balance_points >= 500
  RETURNING account_no, member_id, last_entry_no),
issued AS (
  INSERT INTO voucher (voucher_id, key_version, account_no, reward, value_cents, points, issued_at, valid_until,
    posted_points, notice_due_at)
  SELECT md5(gen_random_uuid()::text), 1, account_no, 'voucher-5', 500, 500, now(), now() + interval '3 years', 500,
    now() + interval '35 months'
  FROM changed RETURNING account_no, voucher_id),
entry AS (
  INSERT INTO ledger_entry (account_no, entry_no, kind, points, cause_id)
  SELECT account_no, last_entry_no, 'reward', -500, voucher_id FROM changed JOIN issued USING (account_no)),
answer AS (
  INSERT INTO idempotency_key (caller, key, request_hash, status, body, about)
  SELECT 'pgbench', gen_random_uuid()::text, sha256(convert_to(member_id, 'UTF8')), 201,
    convert_to(repeat('x', :answer_bytes ::int), 'UTF8'), member_id
  FROM changed)
INSERT INTO outbox (messages, message_count)
SELECT convert_to(repeat('x', :outbox_bytes ::int), 'UTF8'), 1 FROM changed;
"""
_MORE_POSITIONS = f"""
    INSERT INTO purchase_position (account_no, purchase_id, occurred_at, received_at, cents_by_class, vouchers,
        eligible_cents, returned_cents, returned_completely, bonus_percent, posted_points)
    SELECT account_no, 'rich-' || account_no, timestamptz '2025-06-01', now(), '{{"goods":{POINTS * 100}}}', '{{}}',
        {POINTS * 100}, 0, false, 0, {POINTS}
    FROM account"""
_MORE_ENTRIES = f"""
    INSERT INTO ledger_entry (account_no, entry_no, kind, points, purchase_id)
    SELECT account_no, last_entry_no + 1, 'purchase', {POINTS}, 'rich-' || account_no FROM account"""
_MORE_POINTS = f"""
    UPDATE account SET last_entry_no = last_entry_no + 1, balance_points = balance_points + {POINTS},
        points_by_year = points_by_year || '{{"2025": [{POINTS}, 0]}}'"""


class Written(NamedTuple):
    """What the service's redeems left: vouchers, and how long the rows beside each are on average."""

    vouchers: int
    answer_bytes: int
    outbox_bytes: int


async def measure(servers: Servers, plan: Plan) -> Mapping[str, float]:
    """Raises ProcessFailed, also if a redeem was refused."""
    await _keep_rich(servers)
    samples, written = await _at_once(servers, plan, "j", 1)
    samples |= (await _at_once(servers, plan, "j2", 2))[0]
    await servers.reset("loyalty", RICH, purchases_too=True)
    lengths = {"answer_bytes": written.answer_bytes, "outbox_bytes": written.outbox_bytes}
    variables = {"members": plan.members, **lengths}
    singles = await run_pgbench(servers, "loyalty", SCRIPT, plan.pgbench_seconds, variables)
    if (stored := (await _written(servers)).vouchers) != singles.done:
        raise ProcessFailed(f"pgbench redeemed {singles.done} times and {stored} vouchers are stored")
    samples["j_pgbench"] = singles.rate
    for name, posting_rate in (("j_idle", 0), ("j_busy", plan.posting_rate)):
        samples |= await _at_rate(servers, plan, name, posting_rate)
    return samples


async def _keep_rich(servers: Servers) -> None:
    """Give everybody points, and the benchmark a key, in a copy of the database."""
    await servers.reset("loyalty", KEPT["loyalty"], purchases_too=True)
    async with servers.admin("loyalty") as conn, conn.transaction():
        for statement in (_MORE_POSITIONS, _MORE_ENTRIES, _MORE_POINTS):
            await conn.execute(statement)
    key = ("keys", "create", "--name", "benchmark", "--secret-env", "API_KEY", "--scope", "vouchers:write")
    await run_command(servers.environment, "loyalty", *key)
    await servers.keep_as("loyalty", RICH)


async def _at_once(servers: Servers, plan: Plan, name: str, processes_count: int) -> tuple[dict[str, float], Written]:
    await servers.reset("loyalty", RICH, purchases_too=True)
    requests = _requests(servers, plan.members)
    apis = [unlimited_api("loyalty") for _ in range(processes_count)]
    async with (
        running(apis, servers.environment) as processes,
        connected(*(api.url for api in apis)) as connections,
    ):
        warm = await ask_at_once(connections, requests, WARM_UP_S)
        began = cpu_seconds(processes)
        found = await ask_at_once(connections, requests, plan.pgbench_seconds)
        worked = cpu_seconds(processes) - began
    written = await _written(servers)
    _check(written, warm, found)
    return {
        name: found.rate,
        f"{name}_cpu": worked / found.count * MICRO,
        f"{name}_client_percent": found.client_percent,
    }, written


def _check(written: Written, *answered: Answered) -> None:
    if written.vouchers != (told := sum(each.count for each in answered)):
        raise ProcessFailed(f"{told} vouchers were answered and {written.vouchers} stored")


async def _written(servers: Servers) -> Written:
    async with servers.admin("loyalty") as conn:
        vouchers = await conn.fetchval("SELECT count(*) FROM voucher")
        answer = await conn.fetchval("SELECT avg(length(body))::int FROM idempotency_key")
        message = await conn.fetchval("SELECT avg(length(messages))::int FROM outbox")
    return Written(vouchers, answer or 0, message or 0)


async def _at_rate(servers: Servers, plan: Plan, name: str, posting_rate: int) -> dict[str, float]:
    """The worker runs in both cases: it publishes what redeems tell."""
    await servers.reset("loyalty", RICH, purchases_too=True)
    requests, seconds = _requests(servers, plan.members), plan.latency_seconds
    api = unlimited_api("loyalty")
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(running([worker("loyalty"), api], servers.environment))
        connections = await stack.enter_async_context(connected(api.url))
        await ask_at_rate(connections, requests, REDEEMS_PER_S, WARM_UP_S)
        conn = await stack.enter_async_context(servers.admin("loyalty"))
        if posting_rate:
            await stack.enter_async_context(posting(servers, posting_rate, plan.members))
        before = await posted(conn)
        found = Latencies(sorted(await ask_at_rate(connections, requests, REDEEMS_PER_S, seconds)))
        reached = (await posted(conn) - before) / seconds
    samples = {f"{name}50": found.percentile(50), f"{name}99": found.percentile(99)}
    return samples | ({f"{name}_posted": reached} if posting_rate else {})


def _requests(servers: Servers, members: int) -> Iterator[bytes]:
    door = Door(servers.environment["API_KEY"])
    chance = random.Random(1)
    while True:
        for n in chance.sample(range(members), members):
            yield door.post(f"/v1/members/{member_id(n)}/rewards", str(uuid4()), BODY)


FIGURE = Figure(
    "j",
    measured={
        "j": "(j) points redeemed over HTTP, 32 connections, one HTTP process, requests/s",
        "j2": "(j) the same with two HTTP processes, requests/s",
        "j_pgbench": "(j) the same rows by pgbench, one statement a redeem, 16 clients, redeems/s",
        "j_cpu": "(j) processor time of the HTTP process, us a redeem",
        "j2_cpu": "(j) processor time of two HTTP processes, us a redeem",
        "j_client_percent": "(j) processor time of what asks one process, % of a core",
        "j2_client_percent": "(j) processor time of what asks two, % of a core",
        "j_idle50": f"(j) a redeem at {REDEEMS_PER_S}/s while nothing is posted, p50, ms",
        "j_idle99": "(j) the same, p99, ms",
        "j_busy50": f"(j) a redeem at {REDEEMS_PER_S}/s while purchases are posted, p50, ms",
        "j_busy99": "(j) the same, p99, ms",
        "j_busy_posted": "(j) purchases posted meanwhile, of {posting} a second that were asked for, events/s",
    },
    measure=measure,
    targets=(
        Target("(j) redeems over HTTP / pgbench, 1 process", ratio("j", "j_pgbench"), 0.20, 0.40),
        Target("(j) redeems over HTTP / pgbench, 2 processes", ratio("j2", "j_pgbench"), 0.20, 0.40),
        Target("(j) p99 while posting / p99 without", ratio("j_busy99", "j_idle99"), 3, 3, less_is_better=True),
    ),
    adds_purchases=True,
)
