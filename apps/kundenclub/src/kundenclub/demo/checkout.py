"""A webshop checkout over HTTP: points become a voucher, the voucher pays, and it pays only once."""

import json
import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import asyncpg
import httpx
from programme.facts import PURCHASE_COMPLETED

from kundenclub.contracts import PURCHASES
from kundenclub.demo.receipts import BERLIN
from kundenclub.errors import Explained
from kundenclub.lines import to_message
from kundenclub.publisher import Publisher
from kundenclub.stack import Say

VOUCHER = "voucher-5"
POINTS = 500
BASKET = {"food": 1890, "goods": 1250}
TIMEOUT_S = 30.0


class Unexpected(Explained):
    """A service answered otherwise than the story needs; the text says what."""


class Cast(NamedTuple):
    """The members of the story: the first has a varied ledger, the last has too few points."""

    protagonist: str
    others: list[str]
    too_poor: str | None


async def choose_cast(loyalty: asyncpg.Connection) -> Cast:
    """Members by what they bought and gave back, so the same in every run of the same year.

    The ledger itself would not do: how many entries led to the same points depends on the order of arrival.
    """
    protagonist = await loyalty.fetchval(
        """SELECT a.member_id FROM account a JOIN purchase_position p USING (account_no)
           WHERE a.balance_points >= $1 AND a.member_id IS NOT NULL
           GROUP BY a.account_no
           ORDER BY (bool_or(p.bonus_percent > 0) AND bool_or(p.returned_cents > 0)) DESC, count(*), a.member_id
           LIMIT 1""",
        POINTS,
    )
    if protagonist is None:
        raise Unexpected(f"nobody has {POINTS} points")
    rows = await loyalty.fetch(
        "SELECT member_id FROM account WHERE member_id <> $1 ORDER BY balance_points DESC, member_id LIMIT 2",
        protagonist,
    )
    too_poor = await loyalty.fetchval(
        """SELECT member_id FROM account WHERE balance_points BETWEEN 0 AND $1 - 1
           ORDER BY balance_points DESC, member_id LIMIT 1""",
        POINTS,
    )
    return Cast(protagonist, [row["member_id"] for row in rows], too_poor)


class Checkout:
    """The webshop: calls loyalty, and publishes its orders to Kafka."""

    def __init__(self, loyalty: httpx.AsyncClient, publisher: Publisher, say: Say) -> None:
        self._loyalty = loyalty
        self._publisher = publisher
        self._say = say
        self._orders = 0

    async def play(self, cast: Cast) -> None:
        """The whole story. Raises Unexpected, httpx.HTTPError."""
        await self._scene(cast.protagonist, "webshop-order-1")
        for number, member_id in enumerate(cast.others, 2):
            voucher = await self._redeem_points(member_id, str(uuid.uuid4()))
            await self._pay(voucher, member_id, f"webshop-order-{number}")
        if cast.too_poor is not None:
            await self._refused_reward(cast.too_poor)
        await self._publisher.flush()
        if self._publisher.acknowledged != self._orders:
            raise Unexpected("an order was not taken by Kafka")

    async def _scene(self, member_id: str, order: str) -> None:
        member = await self._call("GET", f"/v1/members/{member_id}", expect=200)
        self._say(f"  {member_id} is {member['level'].capitalize()} and has {member['balance_points']:,} points.")
        key = str(uuid.uuid4())
        voucher = await self._redeem_points(member_id, key)
        again = await self._redeem_points(member_id, key, replayed=True)
        if again["code"] != voucher["code"]:
            raise Unexpected("a replayed request gave another voucher")
        checked = await self._call("POST", "/v1/vouchers/check", {"code": voucher["code"]}, expect=200)
        self._say(
            f"  At the checkout the voucher is checked: {checked['state']}, worth EUR {euros(checked['value_cents'])},"
            f" usable to the end of {_last_day(checked['valid_until'])}, but not for"
            f" {', '.join(checked['pays_not_for'])}."
        )
        await self._pay(voucher, member_id, order)
        await self._second_use(voucher, "webshop-order-99")

    async def _redeem_points(self, member_id: str, key: str, *, replayed: bool = False) -> dict[str, Any]:
        path = f"/v1/members/{member_id}/rewards"
        response = await self._loyalty.post(path, json={"reward": VOUCHER}, headers={"Idempotency-Key": key})
        voucher = body_of(response, 201)
        if replayed != (response.headers.get("Idempotency-Replayed") == "true"):
            raise Unexpected(f"{path}: Idempotency-Replayed is {response.headers.get('Idempotency-Replayed')}")
        if replayed:
            self._say(
                "  The answer got lost, the shop asks again with the same key: the same voucher, no second debit."
            )
        else:
            self._say(
                f"  {member_id} turns {voucher['points']} points into voucher {voucher['code']}"
                f" and keeps {voucher['balance_points']:,}."
            )
        return voucher

    async def _pay(self, voucher: Mapping[str, Any], member_id: str, order: str) -> None:
        """Redeem it, then report the order as an event, like any shop: it names the voucher it was paid with."""
        request = {"code": voucher["code"], "purchase_id": order, "cents_by_class": BASKET}
        redeemed = await self._call("POST", "/v1/vouchers/redeem", request, expect=200)
        total = sum(BASKET.values())
        left = euros(total - voucher["value_cents"])
        self._say(
            f"  It pays for {order} (EUR {euros(total)}): {redeemed['state']}."
            f" EUR {left} are left to pay, and earn points."
        )
        data = json.dumps(_order(member_id, order, voucher)).encode()
        self._orders += 1
        await self._publisher.send(to_message(PURCHASES, PURCHASE_COMPLETED, data), self._orders)

    async def _second_use(self, voucher: Mapping[str, Any], order: str) -> None:
        request = {"code": voucher["code"], "purchase_id": order, "cents_by_class": BASKET}
        problem = await self._call("POST", "/v1/vouchers/redeem", request, expect=409)
        self._say(f"  A second use, for {order}, is refused: 409 {problem['code']}, {problem['detail']}")

    async def _refused_reward(self, member_id: str) -> None:
        path = f"/v1/members/{member_id}/rewards"
        key = {"Idempotency-Key": str(uuid.uuid4())}
        problem = body_of(await self._loyalty.post(path, json={"reward": VOUCHER}, headers=key), 409)
        self._say(f"  {member_id} wants one too: 409 {problem['code']}, {problem['detail']}")

    async def _call(self, method: str, path: str, body: object = None, *, expect: int) -> dict[str, Any]:
        return body_of(await self._loyalty.request(method, path, json=body), expect)


def euros(cents: int) -> str:
    """Cents as an amount of euros."""
    return f"{cents // 100:,}.{cents % 100:02d}"


def _last_day(valid_until: str) -> str:
    """The last day on which something is valid that ends at this instant."""
    return f"{datetime.fromisoformat(valid_until).astimezone(BERLIN) - timedelta(microseconds=1):%d.%m.%Y}"


def _order(member_id: str, order: str, voucher: Mapping[str, Any]) -> dict[str, object]:
    """What the shop was paid after the voucher, which took from the first class that can bear it."""
    paid = {**BASKET, "food": BASKET["food"] - voucher["value_cents"]}
    return {
        "purchase_id": order,
        "member_id": member_id,
        "occurred_at": datetime.now(BERLIN).isoformat(timespec="seconds"),
        "channel": "webshop",
        "currency": "EUR",
        "lines": [
            {"line": number, "product_class": name, "quantity": 1, "amount_cents": cents}
            for number, (name, cents) in enumerate(paid.items(), 1)
        ],
        "vouchers": [voucher["voucher_id"]],
    }


def body_of(response: httpx.Response, expected: int) -> dict[str, Any]:
    """What a service answered. Raises Unexpected if that is another status."""
    if response.status_code != expected:
        raise Unexpected(f"{response.request.url.path}: {response.status_code} {response.text[:300]}")
    body: dict[str, Any] = response.json()
    return body
