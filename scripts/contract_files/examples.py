"""Examples of what every route answers with: made from the schemas, with one member's values for the fields.

A field is looked up as `Schema.field`, then as `field`; an enumeration without either is shown with its first value.
A new field without a value ends `make contracts` with its name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

JSON = "application/json"
VOUCHER_ID = "9f86d081884c7d659a2feaa0c55ad015"
PURCHASE_ID = "s0367-t02-20261122-000184"
SOLD, LATER, LAST = "2026-11-22T09:15:30Z", "2026-11-24T16:03:00Z", "2026-11-25T08:30:00Z"
SILVER, POINTS_END, LEVEL_ENDS = "2026-10-01T10:00:00Z", "2029-12-31T23:00:00Z", "2027-11-21T23:00:00Z"
WON_BY = {"kind": "purchase", "id": "s0367-t02-20261001-000041", "occurred_at": SILVER}
LAST_BY = {"kind": "purchase", "id": PURCHASE_ID, "occurred_at": SOLD}
SLOT = {
    "slot_no": 3,
    "starts_at": "2026-12-07T09:00:00Z",
    "ends_at": "2026-12-07T09:30:00Z",
    "label": "Room 2",
    "is_free": False,
}

VALUES: Mapping[str, Any] = {
    # the member
    "member_id": "M0001234",
    "joined_at": "2026-03-02T08:00:00Z",
    "level": "silver",
    "next_level": "gold",
    "bonus_percent": 10,
    "since": SILVER,
    "held_until": LEVEL_ENDS,
    "collected_points": 1250,
    "points_to_next_level": 1750,
    "points_to_keep_level": 1000,
    "benefits": ["discount"],
    "after": SILVER,
    "StatusBody.timeline": [
        {"after": None, "level": "basis", "reason": "start", "causes": []},
        {"after": SILVER, "level": "silver", "reason": "collected", "causes": [WON_BY]},
        {"after": LEVEL_ENDS, "level": "basis", "reason": "lapsed", "causes": [LAST_BY]},
    ],
    "at": LAST,
    "exported_at": LAST,
    # purchases and returns
    "purchase_id": PURCHASE_ID,
    "occurred_at": SOLD,
    "received_at": "2026-11-22T09:15:31.204Z",
    "product_class": "food",
    "amount_cents": 2190,
    "earns": True,
    "cents_by_class": {"deposit": 50, "food": 2190},
    "eligible_cents": 2190,
    "PurchaseView.returns": [],
    "remaining_cents": 2190,
    "returned_cents": 0,
    "ExportView.returns": [],
    "returned_completely": False,
    "terms_valid_from": "2000-01-01",
    "vouchers": [],
    # points and the ledger
    "balance_points": 750,
    "MemberView.balance_points": 1250,
    "base": 21,
    "bonus": 3,
    "total": 24,
    "points": 24,
    "entry_no": 7,
    "posted_at": "2026-11-22T09:15:31.310Z",
    "EntryView.kind": "purchase",
    "cause_id": PURCHASE_ID,
    "CauseView.kind": "purchase",
    "CauseView.id": PURCHASE_ID,
    "points_to_next_voucher": 0,
    "ExpiringPoints.points": 1250,
    "ExpiringPoints.at": POINTS_END,
    "expires_at": POINTS_END,
    # rewards and vouchers
    "reward": "voucher-5",
    "OfferedReward.points": 500,
    "OfferedReward.sku": None,
    "OfferedReward.name": None,
    "valid_years": 3,
    "value_cents": 500,
    "voucher_id": VOUCHER_ID,
    "code": "K7QX-2M9T-HD4W-PZ1C",
    "IssuedVoucher.points": 500,
    "OwnVoucher.points": 500,
    "ExportedVoucher.points": 500,
    "ExportedVoucher.state": "open",
    "valid_until": POINTS_END,
    "issued_at": LATER,
    "pays_not_for": ["book", "deposit", "gift_card", "prescription", "tobacco"],
    "redeemed_at": None,
    "reserved_until": None,
    "cancelled_at": None,
    "used_at": LAST,
    "order_id": "7b1f8e0c2a5d4c59",
    "name": "Coffee mug",
    "ordered_at": LAST,
    "ExportedProduct.points": 800,
    "ExportedProduct.reward": "mug",
    "usable": True,
    "QuotedVoucher.refusal": None,
    # adjustments
    "adjustment_id": 12,
    "AdjustmentView.points": 50,
    "ExportedAdjustment.points": 50,
    "ExportedAdjustment.reason": "goodwill",
    "ExportedAdjustment.state": "posted",
    "AdjustmentView.state": "posted",
    "text": "Bought 22.11.2026 for EUR 21.90",
    "AdjustmentView.text": "the goods were damaged",
    "ExportedAdjustment.text": "the goods were damaged",
    "requested_at": LAST,
    "AdjustmentView.decided_at": LAST,
    "ExportedAdjustment.decided_at": LAST,
    "client": "customer-service",
    "subject": "employee-17",
    "AdjustmentView.decided_by": {"client": "customer-service", "subject": "employee-23"},
    # what the club owes
    "LiabilityView.points": 4_664_838,
    "LiabilityView.value_cents": 4_664_838,
    "rate_points": 500,
    "rate_cents": 500,
    "ExpiringView.points": 4_664_838,
    "ExpiringView.value_cents": 4_664_838,
    "points_by_level": {"basis": 487_262, "gold": 2_653_722, "silver": 1_523_854},
    "LevelPointsView.points": 1_523_854,
    "LevelPointsView.value_cents": 1_523_854,
    "accounts": 0,
    "AccountsView.points": 0,
    "LiabilityView.open_vouchers": [{"count": 3, "value_cents": 1500, "year": 2029}],
    "open_vouchers_cents": 1500,
    "entry_points": 4_664_838,
    "later_points": 0,
    "unposted_expiry_points": 0,
    "LedgerView.balance_points": 4_664_838,
    "differing_accounts": 0,
    "difference_points": 0,
    "is_reconciled": True,
    # segments and lists
    "lifecycle": "stammkunde",
    "status": "stammkunde",
    "at_risk_since": None,
    "reactivated_on": None,
    "abc": "A",
    "abc_date": "2026-11-21",
    "date": "2026-11-21",
    "members": 1026,
    "SegmentsBody.members": 2469,
    "SnapshotBody.members": 2469,
    "revenue_cents": 361_204_811,
    "ExportedSnapshot.revenue_cents": 184_350,
    "SegmentsBody.revenue_cents": 450_353_705,
    "SnapshotBody.revenue_cents": 450_353_705,
    "digest": "a4b709ee963bcd4ab0f1465394dee8648e43fc84c0dc3f9a7a93577e2eea9cd5",
    "contact_person": "Petra Beispiel",
    "ContactPersonBody.name": "Petra Beispiel",
    "email": "petra.beispiel@example.com",
    "assigned_at": LATER,
    "next_cursor": None,
    # offers and claims
    "offer_id": 17,
    "OfferBody.kind": "consultation",
    "ExportedClaim.kind": "discount",
    "ExportedClaim.title": "10 % off coffee",
    "ExportedClaim.offer_id": 16,
    "ExportedClaim.slot_no": None,
    "ExportedClaim.starts_at": None,
    "ClaimBody.member_id": "M0000097",
    "title": "Nutrition advice",
    "description": "Half an hour with our nutritionist.",
    "least_level": "gold",
    "ClaimBody.level": "gold",
    "opens_at": "2026-11-23T08:00:00Z",
    "closes_at": "2026-12-06T23:00:00Z",
    "closed_at": None,
    "capacity": None,
    "claimed": 1,
    "invites": True,
    "slot_no": 3,
    "OfferBody.slots": [SLOT],
    "claim_no": 4711,
    "claimed_at": LAST,
    # consents, contacts, surveys
    "channel": "email",
    "channels": ["email"],
    "granted": True,
    "source": "webshop",
    "decided_at": LATER,
    "recorded_at": LATER,
    "contact_no": 4711,
    "ContactBody.kind": "survey",
    "ExportedContact.kind": "survey",
    "ExportedContact.level": None,
    "cause": PURCHASE_ID,
    "recommended_at": LAST,
    "told_at": LAST,
    "ExportedNotice.kind": "voucher_expiring",
    "ExportedNotice.received_at": "2029-12-01T06:00:00Z",
    "ExportedNotice.ends_at": POINTS_END,
    "ExportedNotice.reason": {"valid_until": POINTS_END, "value_cents": 500, "voucher_id": VOUCHER_ID},
    "survey_id": "2f6c1b0de4a94c7f8e53a1d07b9c6e42",
    "asked_at": LAST,
    "answered_at": LAST,
    "score": 9,
    "best_score": 10,
    "asked": 287,
    "answered": 3,
    "by_score": {"7": 1, "9": 2},
}


PENDING = {"state": "pending", "points": 5000, "decided_at": None, "decided_by": None}
OFFERED = {"claimed": 0, "slots": [dict(SLOT, is_free=True)]}
CHANGES: Mapping[str, Mapping[str, Any]] = {
    "reserve_voucher 200": {"state": "reserved", "reserved_until": "2026-11-25T08:45:00Z"},
    "redeem_voucher 200": {"state": "redeemed", "redeemed_at": LAST},
    "cancel_voucher 200": {"state": "cancelled"},
    "adjust_points 201": {"decided_by": None},
    "adjust_points 202": PENDING,
    "list_pending_adjustments 200": PENDING,
    "reject_adjustment 200": {"state": "rejected", "points": 5000},
    "approve_adjustment 200": {"points": 5000},
    "create_offer 201": OFFERED,
    "list_offers 200": OFFERED,
    "close_offer 200": {"closed_at": LAST},
    "cancel_claim 200": {"cancelled_at": LAST},
}
"""What is otherwise in the answer of one operation; of a page, in its items."""


class NoValue(Exception):
    """A field has no value here; the text names it."""


def add_examples(document: dict[str, Any]) -> None:
    """Give every JSON answer that tells of success an example, in place. Raises NoValue."""
    schemas = document["components"]["schemas"]
    for name, media in _json_answers(document):
        example, changes = _of(media["schema"], schemas, "", ""), CHANGES.get(name, {})
        if "items" in example:
            media["example"] = example | {"items": [each | changes for each in example["items"]]}
        else:
            media["example"] = example | changes


def _json_answers(document: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """All JSON answers that tell of success, by operation and status."""
    for path in document["paths"].values():
        for operation in path.values():
            for status, answer in operation["responses"].items():
                if status.startswith("2") and JSON in answer.get("content", {}):
                    yield f"{operation['operationId']} {status}", answer["content"][JSON]


def _has_parts(schema: Mapping[str, Any]) -> bool:
    """Whether the schema, one of its branches or its items have fields with names of their own."""
    inner = [*schema.get("anyOf", []), *schema.get("oneOf", []), *([schema["items"]] if "items" in schema else [])]
    return "$ref" in schema or any(_has_parts(each) for each in inner)


def _of(schema: Mapping[str, Any], schemas: Mapping[str, Any], owner: str, field: str) -> Any:
    """An example of a schema that stands in `field` of the schema `owner`."""
    if f"{owner}.{field}" in VALUES:
        return VALUES[f"{owner}.{field}"]
    if "const" in schema:
        return schema["const"]
    if field in VALUES and not _has_parts(schema):
        return VALUES[field]
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[-1]
        return _of(schemas[name], schemas, name, "")
    for branches in (schema.get("anyOf", []), schema.get("oneOf", []), schema.get("allOf", [])):
        if branches:
            return _of(next(each for each in branches if each.get("type") != "null"), schemas, owner, field)
    if schema.get("enum"):
        return schema["enum"][0]
    if schema.get("type") == "array":
        return [_of(schema["items"], schemas, owner, field)]
    if "properties" in schema:
        return {name: _of(each, schemas, owner, name) for name, each in schema["properties"].items()}
    raise NoValue(f"{owner}.{field}: give it a value in {__file__}")
