"""The events this service publishes (contracts/schemas), built from what was just posted.

`event_no` is drawn under the account's lock and grows by one an event, so a consumer can drop what a cut-off relay
delivers late.
"""

import msgspec
from eventing.envelope import new_message
from eventing.records import Message
from programme.instants import format_instant

from loyalty.points.account import Account
from loyalty.vouchers.uses import Use

SOURCE = "urn:kundenclub:loyalty"
LOYALTY_TOPIC = "kundenclub.loyalty"
MEMBERS_TOPIC = "kundenclub.members"
POINTS_POSTED = "kundenclub.points.posted.v1"
VOUCHER_ISSUED = "kundenclub.voucher.issued.v1"
VOUCHER_REDEEMED = "kundenclub.voucher.redeemed.v1"
VOUCHER_CANCELLED = "kundenclub.voucher.cancelled.v1"
VOUCHER_RESERVED = "kundenclub.voucher.reserved.v1"
VOUCHER_RELEASED = "kundenclub.voucher.released.v1"
VOUCHER_UNDONE = "kundenclub.voucher.undone.v1"
VOUCHER_EXPIRED = "kundenclub.voucher.expired.v1"
VOUCHER_EXPIRING_SOON = "kundenclub.voucher.expiring-soon.v1"
POINTS_EXPIRING_SOON = "kundenclub.points.expiring-soon.v1"
PRODUCT_ORDERED = "kundenclub.product.ordered.v1"
MEMBER_JOINED = "kundenclub.member.joined.v1"
MEMBER_ERASED = "kundenclub.member.erased.v1"

MOST_ENTRIES = 1_000

_encode = msgspec.json.Encoder().encode


class PostedEntry(msgspec.Struct, omit_defaults=True):
    """One ledger entry as others may know it."""

    entry_no: int
    points: int
    kind: str
    purchase_id: str | None
    cause_id: str | None
    level: str | None = None


class PointsPosted(msgspec.Struct):
    """Entries one transaction added to an account; `balance_points` is the sum of its entries up to these."""

    member_id: str
    event_no: int
    balance_points: int
    entries: list[PostedEntry]


class VoucherIssued(msgspec.Struct):
    """A voucher was issued; its code is a secret between the club and the member and is in no event."""

    member_id: str
    event_no: int
    voucher_id: str
    value_cents: int
    points: int
    valid_until: str


class VoucherRedeemed(msgspec.Struct):
    """A voucher was redeemed for a purchase, through the API or by the purchase's event."""

    member_id: str
    event_no: int
    voucher_id: str
    purchase_id: str
    redeemed_at: str


class VoucherCancelled(msgspec.Struct):
    """Staff cancelled an unused voucher; its points went back to the owner."""

    member_id: str
    event_no: int
    voucher_id: str
    cancelled_at: str


class VoucherReserved(msgspec.Struct):
    """A checkout holds a voucher for a purchase, newly or for longer; no event tells that the time is up."""

    member_id: str
    event_no: int
    voucher_id: str
    purchase_id: str
    reserved_at: str
    reserved_until: str


class VoucherReleased(msgspec.Struct):
    """A checkout gave up its reservation."""

    member_id: str
    event_no: int
    voucher_id: str
    purchase_id: str
    released_at: str


class VoucherUndone(msgspec.Struct):
    """A redemption was taken back: the order failed."""

    member_id: str
    event_no: int
    voucher_id: str
    purchase_id: str
    undone_at: str


class VoucherExpired(msgspec.Struct):
    """An unused voucher can no longer be used since `expired_at`; its points do not come back."""

    member_id: str
    event_no: int
    voucher_id: str
    expired_at: str


class VoucherExpiringSoon(msgspec.Struct):
    """An unused voucher can be used before `valid_until`, which is near."""

    member_id: str
    event_no: int
    voucher_id: str
    value_cents: int
    valid_until: str


class PointsExpiringSoon(msgspec.Struct):
    """Points that are lost at `expires_at` unless they are spent before."""

    member_id: str
    event_no: int
    points: int
    expires_at: str


class ProductOrdered(msgspec.Struct):
    """Points were turned into a product, which is to be handed over or sent."""

    member_id: str
    event_no: int
    order_id: str
    reward: str
    sku: str
    name: str
    points: int
    ordered_at: str


class MemberJoined(msgspec.Struct):
    """A member joined the club."""

    member_id: str
    joined_at: str


class MemberErased(msgspec.Struct):
    """A member was erased: whoever keeps anything of them deletes it, and never knows them again."""

    member_id: str
    erased_at: str


AccountEvent = (
    PointsPosted
    | PointsExpiringSoon
    | ProductOrdered
    | VoucherIssued
    | VoucherReserved
    | VoucherReleased
    | VoucherRedeemed
    | VoucherUndone
    | VoucherCancelled
    | VoucherExpiringSoon
    | VoucherExpired
)
_TYPES: dict[type[AccountEvent], str] = {
    PointsPosted: POINTS_POSTED,
    PointsExpiringSoon: POINTS_EXPIRING_SOON,
    ProductOrdered: PRODUCT_ORDERED,
    VoucherIssued: VOUCHER_ISSUED,
    VoucherReserved: VOUCHER_RESERVED,
    VoucherReleased: VOUCHER_RELEASED,
    VoucherRedeemed: VOUCHER_REDEEMED,
    VoucherUndone: VOUCHER_UNDONE,
    VoucherCancelled: VOUCHER_CANCELLED,
    VoucherExpiringSoon: VOUCHER_EXPIRING_SOON,
    VoucherExpired: VOUCHER_EXPIRED,
}


def points_posted(account: Account) -> list[Message]:
    """The events for the entries just posted to `account`; none for an erased member.

    At most `MOST_ENTRIES` in each: a message has an upper bound, the purchases a new level rates anew have none.
    """
    entries = account.new_entries
    if account.member_id is None or not entries:
        return []
    messages = []
    for first in range(0, len(entries), MOST_ENTRIES):
        end = first + MOST_ENTRIES
        balance = account.balance_points - sum([entry.points for entry in entries[end:]])
        told = [
            PostedEntry(e.entry_no, e.points, e.kind, e.purchase_id, e.cause_id, e.level) for e in entries[first:end]
        ]
        event = PointsPosted(account.member_id, account.next_event_no(), balance, told)
        messages.append(account_message(account, event))
    return messages


def voucher_used(account: Account, voucher_id: str, use: Use) -> list[Message]:
    """The event of a use that a purchase event made; none for an erased owner."""
    if account.member_id is None:
        return []
    used_at = format_instant(use.since_us)
    event = VoucherRedeemed(account.member_id, account.next_event_no(), voucher_id, use.purchase_id, used_at)
    return [account_message(account, event)]


def account_message(account: Account, event: AccountEvent) -> Message:
    """The message of an event about `account`; its id is made of account and version, so a repeat has the same."""
    return new_message(
        LOYALTY_TOPIC,
        type=_TYPES[type(event)],
        source=SOURCE,
        key=event.member_id,
        data=_encode(event),
        event_id=f"{account.account_no}-{event.event_no}",
    )


def member_joined(account: Account, joined: MemberJoined) -> Message:
    """The message that tells that a member joined."""
    return new_message(
        MEMBERS_TOPIC,
        type=MEMBER_JOINED,
        source=SOURCE,
        key=joined.member_id,
        data=_encode(joined),
        event_id=f"joined-{account.account_no}",
    )


def member_erased(account_no: int, erased: MemberErased) -> Message:
    """The message that tells that a member was erased. It stays on its compacted topic, for whoever reads it late."""
    return new_message(
        MEMBERS_TOPIC,
        type=MEMBER_ERASED,
        source=SOURCE,
        key=erased.member_id,
        data=_encode(erased),
        event_id=f"erased-{account_no}",
    )
