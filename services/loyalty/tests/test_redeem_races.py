"""Many at once for the same points or the same voucher: the database lets one win, whichever processes they ask.

Clients behave as a shop's do: what is answered with 503, or not at all, is sent again with the same key. A process
answers 503 when none of its ten connections is free within two seconds, as on a machine that is busy; whoever takes
that for a refusal sees races that nobody loses.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from devstack import ServiceDatabase
from devstack.ports import free_port
from httpx import AsyncClient, Limits, Response, TransportError
from loyalty.audit.verify import verify
from loyalty.points import store as accounts
from loyalty.points.account import Account
from programme.terms import Programme
from webapi import keys

CONTRACTS = Path(__file__).parents[3] / "contracts"
SCOPES = frozenset({"members:read", "members:write", "vouchers:write"})
AGAIN = 100
"""Attempts of one request at most."""
READY_S = 120


@dataclass
class Shop:
    """Clients of some processes of the API; a process that is gone is asked no more."""

    clients: list[AsyncClient]
    answered: asyncio.Condition = field(default_factory=asyncio.Condition)
    answers: int = 0
    sent_again: Counter[str] = field(default_factory=Counter)

    async def ask(self, first: int, path: str, body: dict[str, Any], key: str | None = None) -> Response:
        """The final answer to a request that is sent again, to the others in turn, until there is one."""
        headers = {} if key is None else {"Idempotency-Key": key}
        for attempt in range(AGAIN):
            client = self.clients[(first + attempt) % len(self.clients)]
            try:
                answer = await client.post(path, json=body, headers=headers)
            except TransportError as lost:
                self.sent_again[type(lost).__name__] += 1
                continue
            if answer.status_code == 503 or answer.json().get("code") == "request_in_flight":
                self.sent_again[str(answer.status_code)] += 1
                continue
            async with self.answered:
                self.answers += 1
                self.answered.notify_all()
            return answer
        raise AssertionError(f"no answer to {path} in {AGAIN} attempts: {self.sent_again}")

    async def spend(self, n: int, member_id: str) -> Response:
        path, key = f"/v1/members/{member_id}/rewards", f"{member_id}-order-{n}"
        return await self.ask(n, path, {"reward": "voucher-5"}, key)

    async def redeem(self, n: int, code: str) -> Response:
        body = {"code": code, "purchase_id": f"till-{n}-{code}", "cents_by_class": {"food": 2000}}
        return await self.ask(n, "/v1/vouchers/redeem", body)

    async def when_answered(self, answers: int, then: Callable[[], None]) -> None:
        """Do something once so many requests have their answer."""
        async with self.answered:
            await self.answered.wait_for(lambda: self.answers >= answers)
        then()


def statuses(answers: Sequence[Response]) -> Counter[int]:
    return Counter(answer.status_code for answer in answers)


@pytest.fixture
def one_process(api: AsyncClient) -> Shop:
    return Shop([api])


async def test_200_parallel_redeems_of_700_points_issue_one_voucher(
    one_process: Shop, till: Any, conn: asyncpg.Connection
) -> None:
    await till.bought("M1", "p1", 700)
    answers = await asyncio.gather(*[one_process.spend(n, "M1") for n in range(200)])
    assert statuses(answers) == {201: 1, 409: 199}, one_process.sent_again
    refused = [answer.json() for answer in answers if answer.status_code == 409]
    assert {(each["code"], each["balance_points"]) for each in refused} == {("insufficient_points", 200)}
    assert await conn.fetchval("SELECT balance_points FROM account") == 200


async def test_an_account_made_since_the_locks_were_taken_is_not_touched(
    till: Any, conn: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker could be posting to it: what is read without a lock must not be written."""
    lock = accounts.lock_accounts

    async def lock_and_be_late(*args: Any) -> list[Account]:
        monkeypatch.undo()
        locked = await lock(*args)
        await till.bought("M1", "p1", 700)
        return locked

    monkeypatch.setattr(accounts, "lock_accounts", lock_and_be_late)
    assert (await till.spend("M1", "early")).json()["code"] == "member_not_found"
    assert await conn.fetchval("SELECT balance_points FROM account") == 700
    assert (await till.spend("M1", "late")).status_code == 201


async def test_50_tills_redeem_one_voucher_and_one_wins(one_process: Shop, till: Any) -> None:
    await till.bought("M1", "p1", 500)
    code, _ = await till.voucher("M1")
    answers = await asyncio.gather(*[one_process.redeem(n, code) for n in range(50)])
    assert statuses(answers) == {200: 1, 409: 49}, one_process.sent_again
    [won] = [answer.json() for answer in answers if answer.status_code == 200]
    lost = [answer.json() for answer in answers if answer.status_code == 409]
    assert {(each["code"], each["redeemed_at"]) for each in lost} == {
        ("voucher_already_redeemed", won["redeemed_at"]),
    }


async def test_50_tills_reserve_one_voucher_and_one_holds_it(one_process: Shop, till: Any) -> None:
    await till.bought("M1", "p1", 500)
    code, _ = await till.voucher("M1")
    body = {"code": code, "cents_by_class": {"food": 2000}}
    requests = [one_process.ask(n, "/v1/vouchers/reserve", body | {"purchase_id": f"till-{n}"}) for n in range(50)]
    answers = await asyncio.gather(*requests)
    assert statuses(answers) == {200: 1, 409: 49}, one_process.sent_again


async def test_one_purchase_redeems_one_of_20_vouchers_of_20_members(one_process: Shop, till: Any) -> None:
    """No account is locked by two of them: the purchase's one redemption is held by its unique key."""
    codes = []
    for n in range(20):
        await till.bought(f"M{n}", "p1", 500)
        codes.append((await till.voucher(f"M{n}"))[0])
    body = {"purchase_id": "shop-1", "cents_by_class": {"food": 2000}}
    requests = [one_process.ask(0, "/v1/vouchers/redeem", body | {"code": code}) for code in codes]
    answers = await asyncio.gather(*requests)
    assert statuses(answers) == {200: 1, 409: 19}, one_process.sent_again
    assert {each.json()["code"] for each in answers if each.status_code == 409} == {"purchase_has_voucher"}


class Processes:
    """Two processes of the API on one database, which can be killed and started anew."""

    def __init__(self, database: ServiceDatabase, headers: dict[str, str]) -> None:
        self._environment = {
            "LOYALTY_DATABASE_URL": database.app_url,
            "LOYALTY_VOUCHER_KEYS": "1:" + "42" * 32,
            "LOYALTY_ERASURE_KEY": "ee" * 32,
            "LOYALTY_METRICS_PORT": "0",
            "CONTRACTS_DIR": str(CONTRACTS),
        }
        self.ports = [free_port() for _ in range(2)]
        limits = Limits(max_connections=100)
        clients = [
            AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, limits=limits, timeout=60)
            for port in self.ports
        ]
        self.shop = Shop(clients)
        self.running = [self._start(port) for port in self.ports]

    def _start(self, port: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "loyalty.cli", "api"],
            env={**os.environ, **self._environment, "LOYALTY_HTTP_PORT": str(port)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def kill(self, number: int) -> None:
        self.running[number].send_signal(signal.SIGKILL)

    async def start_again(self, number: int) -> None:
        self.running[number].wait()
        self.running[number] = self._start(self.ports[number])
        await self.ready()

    async def ready(self) -> None:
        async with asyncio.timeout(READY_S):
            for process, client in zip(self.running, self.shop.clients, strict=True):
                while not await _is_ready(client):
                    assert process.poll() is None, "the process ended"
                    await asyncio.sleep(0.05)  # what is waited for cannot notify us

    async def close(self) -> None:
        for process in self.running:
            process.kill()
            process.wait()
        for client in self.shop.clients:
            await client.aclose()


async def _is_ready(client: AsyncClient) -> bool:
    try:
        return (await client.get("/readyz")).status_code == 200
    except TransportError:
        return False


@pytest.fixture
async def two_processes(database: ServiceDatabase, conn: asyncpg.Connection) -> AsyncIterator[Processes]:
    key = keys.new_key()
    await keys.create(conn, key, "shop", SCOPES)
    processes = Processes(database, {"Authorization": f"Bearer {key}"})
    try:
        await processes.ready()
        yield processes
    finally:
        await processes.close()


async def test_of_two_processes_one_wins_and_a_killed_ones_clients_ask_the_other(
    two_processes: Processes, till: Any, conn: asyncpg.Connection, programme: Programme
) -> None:
    """Whether an answer was lost before or after its commit: asked again, each member has one voucher with one code,
    and each voucher one winner.
    """
    shop, members = two_processes.shop, [f"M{n}" for n in range(20)]
    for member in ("M-hot", *members):
        await till.bought(member, "p1", 700)

    answers = await asyncio.gather(*[shop.spend(n, "M-hot") for n in range(200)])
    assert statuses(answers) == {201: 1, 409: 199}, shop.sent_again
    [code] = [answer.json()["code"] for answer in answers if answer.status_code == 201]
    answers = await asyncio.gather(*[shop.redeem(n, code) for n in range(50)])
    assert statuses(answers) == {200: 1, 409: 49}, shop.sent_again

    asked = [(member, n) for n in range(10) for member in members]
    answers = await _while_one_dies(two_processes, 0, [shop.spend(n, member) for member, n in asked])
    won = Counter(member for (member, _), answer in zip(asked, answers, strict=True) if answer.status_code == 201)
    assert won == dict.fromkeys(members, 1)
    codes = [answer.json()["code"] for answer in answers if answer.status_code == 201]
    assert await conn.fetchval("SELECT count(*) FROM voucher") == len({*codes, code}) == 21

    await two_processes.start_again(0)
    tills = [(code, n) for n in range(8) for code in codes]
    answers = await _while_one_dies(two_processes, 1, [shop.redeem(n, code) for code, n in tills])
    won = Counter(code for (code, _), answer in zip(tills, answers, strict=True) if answer.status_code == 200)
    assert won == dict.fromkeys(codes, 1)
    assert await conn.fetchval("SELECT count(*) FROM voucher_redemption") == 21
    await conn.execute("DELETE FROM outbox")  # there is no relay here, and what it leaves behind for long is a fault
    report = await verify(conn, programme)
    assert report.is_clean, "\n".join(report.lines())


async def _while_one_dies(
    processes: Processes, number: int, requests: Sequence[Coroutine[Any, Any, Response]]
) -> list[Response]:
    """The answers to requests; when a quarter of them have theirs, a process is killed."""
    shop = processes.shop
    shop.sent_again.clear()
    enough = shop.answers + len(requests) // 4
    killing = asyncio.create_task(shop.when_answered(enough, lambda: processes.kill(number)))
    answers = await asyncio.gather(*requests)
    await killing
    assert sum(shop.sent_again.values()) > 0, "nobody was asking the process that was killed"
    return answers
