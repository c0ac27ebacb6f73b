"""What loyalty tells of points and vouchers that end soon, taken as reasons for contacts."""

from collections.abc import Sequence
from typing import TypeVar

import msgspec
from eventing.envelope import Event
from eventing.failures import Invalid
from eventing.forgotten import Secret
from eventing.subscription import Decoded
from eventing.transaction import Transaction
from programme.facts import Refused, decode_json, require_member
from programme.instants import parse_instant

from customer_status.contacts import store
from customer_status.contacts.domain import NoticeChange, points_notice, voucher_notice
from customer_status.tiers.service import ERASED
from customer_status.tiers.store import lock_members

POINTS_EXPIRING_SOON = "kundenclub.points.expiring-soon.v1"
VOUCHER_EXPIRING_SOON = "kundenclub.voucher.expiring-soon.v1"
VOUCHER_REDEEMED = "kundenclub.voucher.redeemed.v1"
VOUCHER_CANCELLED = "kundenclub.voucher.cancelled.v1"
TYPES = frozenset({POINTS_EXPIRING_SOON, VOUCHER_EXPIRING_SOON, VOUCHER_REDEEMED, VOUCHER_CANCELLED})


class _Wire(msgspec.Struct):
    member_id: str
    event_no: int


class _PointsExpiring(_Wire):
    points: int
    expires_at: str


class _VoucherExpiring(_Wire):
    voucher_id: str
    value_cents: int
    valid_until: str


class _VoucherGone(_Wire):
    voucher_id: str


_W = TypeVar("_W", bound=_Wire)
_POINTS = msgspec.json.Decoder(_PointsExpiring)
_VOUCHER = msgspec.json.Decoder(_VoucherExpiring)
_GONE = msgspec.json.Decoder(_VoucherGone)


def read_notice(event: Event) -> NoticeChange:
    """What an event of loyalty means for contacts. Raises Invalid where it is not what the contract says."""
    try:
        return _read(event)
    except Refused as refused:
        raise Invalid(refused.reason, refused.detail) from None
    except ValueError as error:
        raise Invalid("invalid_instant", str(error)) from None


def _read(event: Event) -> NoticeChange:
    received_us = event.record.timestamp_us
    if event.type == POINTS_EXPIRING_SOON:
        points = _member_of(event, decode_json(_POINTS, event.data))
        notice = points_notice(received_us, points.points, points.expires_at, parse_instant(points.expires_at))
        return NoticeChange(points.member_id, points.event_no, notice, None)
    if event.type == VOUCHER_EXPIRING_SOON:
        soon = _member_of(event, decode_json(_VOUCHER, event.data))
        ends_us = parse_instant(soon.valid_until)
        notice = voucher_notice(received_us, soon.voucher_id, soon.value_cents, soon.valid_until, ends_us)
        return NoticeChange(soon.member_id, soon.event_no, notice, None)
    gone = _member_of(event, decode_json(_GONE, event.data))
    return NoticeChange(gone.member_id, gone.event_no, None, gone.voucher_id)


class TakeNotices:
    """Handles `kundenclub.loyalty`: keeps what will end, and drops what is used or gone before."""

    def __init__(self, secret: Secret) -> None:
        self._secret = secret

    async def __call__(self, transaction: Transaction, events: Sequence[Decoded[NoticeChange]]) -> None:
        """One by one, for the order matters; there are a few in a year for each member."""
        conn = transaction.conn
        members = await lock_members(conn, {change.member_id for _, change in events}, self._secret)
        woken = set()
        for event, change in events:
            member = members.get(change.member_id)
            if member is None:
                transaction.ignore(event, ERASED)
            elif change.notice is not None:
                await store.put_notice(conn, member.account_no, change.event_no, change.notice)
                woken.add(member.account_no)
            elif change.gone_voucher_id is not None:
                await store.end_voucher(conn, member.account_no, change.event_no, change.gone_voucher_id)
        await store.wake(conn, woken)


def _member_of(event: Event, wire: _W) -> _W:
    require_member(wire.member_id, event.record.key)
    return wire
