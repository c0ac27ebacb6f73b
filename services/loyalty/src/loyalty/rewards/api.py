"""What points buy, and buying it."""

from collections.abc import Sequence
from typing import Annotated, Literal

from fastapi import APIRouter, Request, Response
from programme.instants import to_datetime
from programme.terms import Programme
from pydantic import Field, RootModel
from webapi.auth import Caller, require
from webapi.database import Database
from webapi.idempotency import PROBLEMS as IDEMPOTENCY_PROBLEMS
from webapi.idempotency import Claim, keyed
from webapi.keyed_requests import Answer, KeyedRequests
from webapi.models import Instant, Model
from webapi.problems import Problem, responses

from loyalty.errors import InsufficientPoints, MemberNotFound, RewardNotFound
from loyalty.parameters import MemberId, Now, TheProgramme
from loyalty.points.store import Connection
from loyalty.rewards.service import Bought, Order, Ordered, spend_all
from loyalty.vouchers.codes import grouped
from loyalty.vouchers.service import Vouchers
from loyalty.vouchers.store import find_voucher

router = APIRouter(tags=["rewards"])


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


class RewardDesk(KeyedRequests[Order]):
    """Turns points into rewards, for as many members at once as ask.

    Answers are kept without the codes of their vouchers, which are derived again: a stolen table holds none.
    """

    def __init__(self, database: Database, programme: Programme, vouchers: Vouchers) -> None:
        self._programme = programme
        self._vouchers = vouchers
        super().__init__(database, self._spend, self._with_code, whose=lambda order: order.member_id)

    async def _spend(self, conn: Connection, orders: Sequence[Order]) -> list[Answer | Problem]:
        bought = await spend_all(conn, self._programme, self._vouchers, orders)
        return [each if isinstance(each, Problem) else _answer(each) for each in bought]

    async def _with_code(self, conn: Connection, kept: bytes) -> bytes:
        answer = BoughtReward.model_validate_json(kept).root
        if not isinstance(answer, IssuedVoucher):
            return kept
        voucher = await find_voucher(conn, answer.voucher_id)
        assert voucher is not None, "an answer is remembered in the transaction that stores its voucher"
        return _json(answer, code=grouped(self._vouchers.code_of(voucher)))


@router.post(
    "/v1/members/{member_id}/rewards",
    status_code=201,
    response_model=BoughtReward,
    responses=responses(MemberNotFound, RewardNotFound, InsufficientPoints, *IDEMPOTENCY_PROBLEMS),
)
async def redeem_points(
    member_id: MemberId,
    body: RewardRequest,
    request: Request,
    now: Now,
    claim: Annotated[Claim, keyed("vouchers:write", about="member_id")],
) -> Response:
    """Turn points into a reward; the same `Idempotency-Key` gives the same one again, never a second one."""
    desk: RewardDesk = request.app.state.rewards
    return await desk.answer(claim, Order(member_id, body.reward, now))


def _answer(bought: Bought) -> Answer:
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
        told = ordered.model_dump_json().encode()
        return Answer(201, told, told)
    voucher = bought.voucher
    issued = IssuedVoucher(
        voucher_id=voucher.voucher_id,
        code=grouped(bought.code),
        value_cents=voucher.value_cents,
        points=voucher.points,
        valid_until=to_datetime(voucher.valid_until_us),
        balance_points=bought.balance_points,
    )
    return Answer(201, _json(issued), _json(issued, code=""))


def _json(issued: IssuedVoucher, **changed: str) -> bytes:
    return issued.model_copy(update=changed).model_dump_json().encode()
