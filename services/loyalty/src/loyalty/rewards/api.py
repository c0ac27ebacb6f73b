"""What points buy, and buying it."""

import json
from typing import Annotated, Literal

from fastapi import APIRouter, Request
from programme.instants import to_datetime
from pydantic import Field, RootModel
from webapi.auth import Caller, require
from webapi.database import RequestTransaction
from webapi.idempotency import PROBLEMS as IDEMPOTENCY_PROBLEMS
from webapi.idempotency import IdempotentRoute, idempotent
from webapi.models import Instant, Model
from webapi.problems import responses

from loyalty.errors import InsufficientPoints, MemberNotFound, RewardNotFound
from loyalty.parameters import MemberId, Now, TheProgramme, TheVouchers
from loyalty.points.store import Connection
from loyalty.rewards.service import Ordered, spend
from loyalty.vouchers.codes import grouped
from loyalty.vouchers.service import Vouchers
from loyalty.vouchers.store import find_voucher


class CodelessRoute(IdempotentRoute):
    """Remembers issued vouchers without their codes, which are derived again: a stolen table holds none."""

    def abridge(self, body: bytes) -> bytes:
        """The answer with an empty `code`, if it has one."""
        answer = json.loads(body)
        return json.dumps(answer | {"code": ""}).encode() if "code" in answer else body

    async def complete(self, request: Request, connection: Connection, body: bytes) -> bytes:
        """The answer with the voucher's code, if it had one."""
        answer = json.loads(body)
        if "code" not in answer:
            return body
        vouchers: Vouchers = request.app.state.vouchers
        voucher = await find_voucher(connection, answer["voucher_id"])
        assert voucher is not None, "an answer is remembered in the transaction that stores its voucher"
        return json.dumps(answer | {"code": grouped(vouchers.code_of(voucher))}).encode()


router = APIRouter(tags=["rewards"], route_class=CodelessRoute)


class RewardRequest(Model):
    """What to spend points on."""

    reward: Annotated[str, Field(min_length=1, max_length=64, examples=["voucher-5"])]


class IssuedVoucher(Model):
    """The voucher with its code, which only its owner should see."""

    kind: Literal["voucher"] = "voucher"
    voucher_id: str
    code: str
    value_cents: int
    points: int
    valid_until: Annotated[Instant, Field(description="It can be used before this instant")]
    balance_points: Annotated[int, Field(description="What is left after it")]


class OrderedProduct(Model):
    """The product that is to be handed over or sent."""

    kind: Literal["product"] = "product"
    order_id: str
    sku: str
    name: str
    points: int
    ordered_at: Instant
    balance_points: Annotated[int, Field(description="What is left after it")]


class BoughtReward(RootModel[Annotated[IssuedVoucher | OrderedProduct, Field(discriminator="kind")]]):
    """What the points were turned into."""


class OfferedReward(Model):
    """Something points buy now."""

    reward: Annotated[str, Field(description="What `POST /v1/members/{member_id}/rewards` calls it")]
    kind: Literal["voucher", "product"]
    points: int
    name: Annotated[str | None, Field(description="null where the terms give none")]
    sku: Annotated[str | None, Field(description="The product's number; null for a voucher")]
    value_cents: Annotated[int | None, Field(description="What a voucher pays; null for a product")]
    valid_years: Annotated[int | None, Field(description="To the end of 31 December of so many years after its issue")]


class Catalogue(Model):
    """All rewards of the terms in force."""

    items: list[OfferedReward]


@router.get("/v1/rewards")
async def read_rewards(
    programme: TheProgramme, now: Now, caller: Annotated[Caller, require("quotes:read")]
) -> Catalogue:
    """What points buy now, the cheapest first."""
    rewards = sorted(programme.at(now).rewards.items(), key=lambda named: (named[1].points, named[0]))
    return Catalogue(
        items=[
            OfferedReward(
                reward=name,
                kind=reward.kind,
                points=reward.points,
                name=reward.name or None,
                sku=reward.sku or None,
                value_cents=reward.value_cents or None,
                valid_years=reward.valid_years or None,
            )
            for name, reward in rewards
        ]
    )


@router.post(
    "/v1/members/{member_id}/rewards",
    status_code=201,
    responses=responses(MemberNotFound, RewardNotFound, InsufficientPoints, *IDEMPOTENCY_PROBLEMS),
)
async def redeem_points(
    member_id: MemberId,
    body: RewardRequest,
    transaction: RequestTransaction,
    programme: TheProgramme,
    vouchers: TheVouchers,
    now: Now,
    caller: Annotated[Caller, idempotent("vouchers:write", about="member_id")],
) -> BoughtReward:
    """Turn points into a reward; the same `Idempotency-Key` gives the same one again, never a second one."""
    bought = await spend(transaction, programme, vouchers, member_id, body.reward, now)
    if isinstance(bought, Ordered):
        product = bought.product
        ordered = OrderedProduct(
            order_id=product.order_id,
            sku=product.sku,
            name=product.name,
            points=product.points,
            ordered_at=to_datetime(product.ordered_us),
            balance_points=bought.balance_points,
        )
        return BoughtReward(ordered)
    voucher = bought.voucher
    issued = IssuedVoucher(
        voucher_id=voucher.voucher_id,
        code=grouped(bought.code),
        value_cents=voucher.value_cents,
        points=voucher.points,
        valid_until=to_datetime(voucher.valid_until_us),
        balance_points=bought.balance_points,
    )
    return BoughtReward(issued)
