"""Everything the client can ask: of loyalty, and from `status` on, at the end, of customer-status; `export` of both.

`cents_by_class` is what is to be paid, in euro cents by product class. Instants have an offset.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from kundenclub_client import results
from kundenclub_client.call import Call, given, new_key

MEMBER = "/v1/members/{member_id}"
Cents = Mapping[str, int]


def join(member_id: str) -> Call[results.Joined]:
    """Join the club; again: the same."""
    return Call("join_club", "PUT", MEMBER, results.Joined, {"member_id": member_id})


def member(member_id: str) -> Call[results.Member]:
    """Balance, level, what expires next and the open vouchers. Raises MemberNotFound."""
    return Call("read_member", "GET", MEMBER, results.Member, {"member_id": member_id})


def entries(member_id: str, *, cursor: str | None = None, limit: int = 50) -> Call[results.Page[results.Entry]]:
    """The ledger, newest first. Raises MemberNotFound."""
    query = given(cursor=cursor, limit=limit)
    result = results.Page[results.Entry]
    return Call("read_entries", "GET", f"{MEMBER}/entries", result, {"member_id": member_id}, query)


def purchase(member_id: str, purchase_id: str) -> Call[results.Purchase]:
    """Why a purchase is worth its points. Raises MemberNotFound, PurchaseNotFound."""
    path = {"member_id": member_id, "purchase_id": purchase_id}
    return Call("read_purchase", "GET", f"{MEMBER}/purchases/{{purchase_id}}", results.Purchase, path)


def quote(
    cents_by_class: Cents,
    *,
    member_id: str | None = None,
    occurred_at: datetime | None = None,
    code: str | None = None,
    purchase_id: str | None = None,
) -> Call[results.Quote]:
    """What a basket would earn, and whether a voucher could pay. Raises MemberNotFound, VoucherNotFound."""
    body = given(
        cents_by_class=dict(cents_by_class),
        member_id=member_id,
        occurred_at=None if occurred_at is None else occurred_at.isoformat(),
        code=code,
        purchase_id=purchase_id,
    )
    return Call("make_quote", "POST", "/v1/quotes", results.Quote, body=body)


def rewards() -> Call[results.Catalogue]:
    """What points buy now."""
    return Call("read_rewards", "GET", "/v1/rewards", results.Catalogue)


def spend(
    member_id: str, reward: str = "voucher-5", *, key: str | None = None
) -> Call[results.IssuedVoucher | results.OrderedProduct]:
    """Turn points into a reward. Raises InsufficientPoints, MemberNotFound, RewardNotFound.

    `key` is the Idempotency-Key, a new one unless given. Store it with the order if the order may outlive the process.
    """
    path, body = {"member_id": member_id}, {"reward": reward}
    result = results.IssuedVoucher | results.OrderedProduct
    template = f"{MEMBER}/rewards"
    return Call("redeem_points", "POST", template, result, path, body=body, idempotency_key=key or new_key())


def vouchers(
    member_id: str, *, state: str | None = None, cursor: str | None = None, limit: int = 50
) -> Call[results.Page[results.OwnVoucher]]:
    """The member's vouchers, open ones with their codes. Raises MemberNotFound."""
    query = given(state=state, cursor=cursor, limit=limit)
    result = results.Page[results.OwnVoucher]
    return Call("read_vouchers", "GET", f"{MEMBER}/vouchers", result, {"member_id": member_id}, query)


def check(code: str) -> Call[results.Voucher]:
    """A voucher's state, value and end. Raises VoucherNotFound."""
    return Call("check_voucher", "POST", "/v1/vouchers/check", results.Voucher, body={"code": code})


def reserve(code: str, purchase_id: str, cents_by_class: Cents) -> Call[results.Voucher]:
    """Keep a voucher for a purchase for a while; again: longer. Raises what `redeem` raises."""
    return _voucher("reserve_voucher", "reserve", code, purchase_id, cents_by_class)


def redeem(code: str, purchase_id: str, cents_by_class: Cents) -> Call[results.Voucher]:
    """Pay with a voucher; again for the same purchase: the same answer, whenever that is.

    Raises VoucherNotFound, VoucherAlreadyRedeemed, VoucherReserved, VoucherCancelled, VoucherExpired,
    VoucherNotApplicable, PurchaseHasVoucher.
    """
    return _voucher("redeem_voucher", "redeem", code, purchase_id, cents_by_class)


def release(code: str, purchase_id: str) -> Call[results.Voucher]:
    """End the purchase's reservation, if it has one. Raises VoucherNotFound."""
    return _voucher("release_voucher", "release", code, purchase_id)


def undo(code: str, purchase_id: str) -> Call[results.Voucher]:
    """Take a redemption back, as the order failed. Raises VoucherNotFound, RedemptionIsFinal."""
    return _voucher("undo_redemption", "undo", code, purchase_id)


def cancel(voucher_id: str) -> Call[results.Voucher]:
    """Staff: cancel an unused voucher, its points come back. Raises VoucherNotFound, VoucherAlreadyRedeemed."""
    template = "/v1/vouchers/{voucher_id}/cancel"
    return Call("cancel_voucher", "POST", template, results.Voucher, {"voucher_id": voucher_id})


def adjust(member_id: str, points: int, reason: str, text: str, *, key: str | None = None) -> Call[results.Adjustment]:
    """Staff: give points, or take them. Its state tells whether a second person has to approve.

    Raises MemberNotFound, InsufficientPoints. `key` is the Idempotency-Key, a new one unless given.
    """
    path, body = {"member_id": member_id}, {"points": points, "reason": reason, "text": text}
    template = f"{MEMBER}/adjustments"
    return Call(
        "adjust_points", "POST", template, results.Adjustment, path, body=body, idempotency_key=key or new_key()
    )


def export(member_id: str) -> Call[dict[str, Any]]:
    """Staff: everything that the service asked, either of them, holds about a member. Raises MemberNotFound."""
    return Call("export_member", "GET", f"{MEMBER}/export", dict[str, Any], {"member_id": member_id})


def erase(member_id: str) -> Call[None]:
    """Staff: erase a member, in both services and for ever. Again: nothing more. Raises MemberNotFound."""
    return Call("erase_member", "DELETE", MEMBER, None, {"member_id": member_id})


def status(member_id: str) -> Call[results.Status]:
    """The level, until when, and how far it is to the next. Raises MemberNotFound."""
    return Call("member_status", "GET", f"{MEMBER}/status", results.Status, {"member_id": member_id})


def offers(
    member_id: str | None = None, *, cursor: str | None = None, limit: int = 50
) -> Call[results.Page[results.Offer]]:
    """What this member may claim now and has not; without a member, all offers. Raises MemberNotFound."""
    query = given(member_id=member_id, cursor=cursor, limit=limit)
    return Call("list_offers", "GET", "/v1/offers", results.Page[results.Offer], query=query)


def claim(offer_id: int, member_id: str, *, slot_no: int | None = None) -> Call[results.Claim]:
    """A discount, a seat, or of a consultation a slot; again: the same claim.

    Raises MemberNotFound, OfferNotFound, SlotNotFound, OfferClosed, NotOpenYet, LevelTooLow, OfferFull, SlotTaken,
    SlotOver, AlreadyClaimed.
    """
    path, body = {"offer_id": str(offer_id)}, given(member_id=member_id, slot_no=slot_no)
    return Call("claim_offer", "POST", "/v1/offers/{offer_id}/claims", results.Claim, path, body=body)


def cancel_claim(offer_id: int, member_id: str) -> Call[results.Claim]:
    """Give a claim up: its seat or slot is free; again: nothing more. Raises MemberNotFound, ClaimNotFound."""
    path = {"offer_id": str(offer_id), "member_id": member_id}
    return Call("cancel_claim", "DELETE", "/v1/offers/{offer_id}/claims/{member_id}", results.Claim, path)


def claims(member_id: str, *, cursor: str | None = None, limit: int = 50) -> Call[results.Page[results.Claim]]:
    """What a member claimed, newest first, cancelled claims too. Raises MemberNotFound."""
    query = given(cursor=cursor, limit=limit)
    result = results.Page[results.Claim]
    return Call("claims_of_member", "GET", f"{MEMBER}/claims", result, {"member_id": member_id}, query)


def consents(member_id: str) -> Call[results.Consents]:
    """Over which channels a member may be contacted. Raises MemberNotFound."""
    return Call("read_consent", "GET", f"{MEMBER}/consent", results.Consents, {"member_id": member_id})


def decide(member_id: str, channel: str, *, granted: bool, source: str, decided_at: datetime) -> Call[results.Consents]:
    """Record what a member decided about a channel, and where; the latest counts. Raises MemberNotFound."""
    decision = {"channel": channel, "granted": granted, "source": source, "decided_at": decided_at.isoformat()}
    path, body = {"member_id": member_id}, {"consents": [decision]}
    return Call("record_consent", "PUT", f"{MEMBER}/consent", results.Consents, path, body=body)


def _voucher(
    operation_id: str, verb: str, code: str, purchase_id: str, cents_by_class: Cents | None = None
) -> Call[results.Voucher]:
    cents = None if cents_by_class is None else dict(cents_by_class)
    body = given(code=code, purchase_id=purchase_id, cents_by_class=cents)
    return Call(operation_id, "POST", f"/v1/vouchers/{verb}", results.Voucher, body=body)
