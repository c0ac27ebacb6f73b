"""Erasing a member over HTTP (GDPR Art. 17)."""

from typing import Annotated

from fastapi import APIRouter
from webapi.auth import Caller, require
from webapi.database import RequestTransaction
from webapi.problems import responses

from loyalty.erasure import service
from loyalty.errors import MemberNotFound
from loyalty.parameters import MemberId, Now, TheSecret

router = APIRouter(tags=["members"])


@router.delete("/v1/members/{member_id}", status_code=204, responses=responses(MemberNotFound))
async def erase_member(
    member_id: MemberId,
    transaction: RequestTransaction,
    secret: TheSecret,
    now: Now,
    caller: Annotated[Caller, require("members:erase")],
) -> None:
    """Erase a member for ever, with their vouchers and points; 204 again if it was done before.

    The ledger stays, without a name. What their card still sends is counted and ignored; no number is used again.
    """
    await service.erase(transaction, secret, member_id, now)
