"""Every refusal by its code. Written by `make contracts`."""

from kundenclub_client.errors import (
    BadCredential,
    Conflict,
    Missing,
    NotAllowed,
    Refused,
    ServiceFailed,
    ServiceProblem,
    TooMany,
)


class AlreadyClaimed(Conflict):
    """409: The member has claimed this offer."""

    code = "already_claimed"


class ClaimNotFound(Missing):
    """404: Claim not found."""

    code = "claim_not_found"


class ExportTooLarge(Conflict):
    """409: The export is too large for an answer."""

    code = "export_too_large"


class Forbidden(NotAllowed):
    """403: The credential does not allow this."""

    code = "forbidden"


class IdempotencyKeyReused(Refused):
    """422: The Idempotency-Key was used for another request."""

    code = "idempotency_key_reused"


class InsufficientPoints(Conflict):
    """409: Not enough points."""

    code = "insufficient_points"


class Internal(ServiceFailed):
    """500: Something failed on our side."""

    code = "internal"


class LevelTooLow(Conflict):
    """409: The member's level is too low."""

    code = "level_too_low"


class Malformed(Refused):
    """422: The request is malformed."""

    code = "malformed"


class MemberErased(Missing):
    """410: The member was erased."""

    code = "member_erased"


class MemberNotFound(Missing):
    """404: Member not found."""

    code = "member_not_found"


class NotOpenYet(Conflict):
    """409: The offer is not open yet."""

    code = "not_open_yet"


class OfferClosed(Conflict):
    """409: The offer is closed."""

    code = "offer_closed"


class OfferFull(Conflict):
    """409: No seat is left."""

    code = "offer_full"


class OfferNotFound(Missing):
    """404: Offer not found."""

    code = "offer_not_found"


class PurchaseHasVoucher(Conflict):
    """409: Only one voucher a purchase."""

    code = "purchase_has_voucher"


class PurchaseNotFound(Missing):
    """404: Purchase not found."""

    code = "purchase_not_found"


class RedemptionIsFinal(Conflict):
    """409: The redemption can no longer be undone."""

    code = "redemption_is_final"


class RequestInFlight(Conflict):
    """409: The same request is being worked on."""

    code = "request_in_flight"


class RewardNotFound(Missing):
    """404: Reward not found."""

    code = "reward_not_found"


class SlotNotFound(Missing):
    """404: Slot not found."""

    code = "slot_not_found"


class SlotOver(Conflict):
    """409: The slot has begun."""

    code = "slot_over"


class SlotTaken(Conflict):
    """409: The slot is taken."""

    code = "slot_taken"


class TooLarge(Refused):
    """413: The request body is too large."""

    code = "too_large"


class TooManyAttempts(TooMany):
    """429: Too many failed attempts of this client."""

    code = "too_many_attempts"


class TooManyRequests(TooMany):
    """429: Too many requests of this client."""

    code = "too_many_requests"


class Unauthorized(BadCredential):
    """401: A valid credential is needed."""

    code = "unauthorized"


class Unavailable(ServiceFailed):
    """503: The service is not available just now."""

    code = "unavailable"


class UnsupportedMediaType(Refused):
    """415: Send JSON."""

    code = "unsupported_media_type"


class VoucherAlreadyRedeemed(Conflict):
    """409: Voucher already redeemed."""

    code = "voucher_already_redeemed"


class VoucherCancelled(Conflict):
    """409: Voucher cancelled."""

    code = "voucher_cancelled"


class VoucherExpired(Conflict):
    """409: Voucher expired."""

    code = "voucher_expired"


class VoucherNotApplicable(Conflict):
    """409: Voucher does not fit this basket."""

    code = "voucher_not_applicable"


class VoucherNotFound(Missing):
    """404: Voucher not found."""

    code = "voucher_not_found"


class VoucherReserved(Conflict):
    """409: Voucher reserved for another purchase."""

    code = "voucher_reserved"


BY_CODE: dict[str, type[ServiceProblem]] = {
    each.code: each
    for each in (
        AlreadyClaimed,
        ClaimNotFound,
        ExportTooLarge,
        Forbidden,
        IdempotencyKeyReused,
        InsufficientPoints,
        Internal,
        LevelTooLow,
        Malformed,
        MemberErased,
        MemberNotFound,
        NotOpenYet,
        OfferClosed,
        OfferFull,
        OfferNotFound,
        PurchaseHasVoucher,
        PurchaseNotFound,
        RedemptionIsFinal,
        RequestInFlight,
        RewardNotFound,
        SlotNotFound,
        SlotOver,
        SlotTaken,
        TooLarge,
        TooManyAttempts,
        TooManyRequests,
        Unauthorized,
        Unavailable,
        UnsupportedMediaType,
        VoucherAlreadyRedeemed,
        VoucherCancelled,
        VoucherExpired,
        VoucherNotApplicable,
        VoucherNotFound,
        VoucherReserved,
    )
}
