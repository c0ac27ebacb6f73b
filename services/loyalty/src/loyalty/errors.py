"""The domain's refusals with their HTTP status and stable code, rendered once by webapi as problem details."""

from webapi.problems import Problem


class MemberNotFound(Problem):
    """No account with this member_id."""

    status = 404
    code = "member_not_found"
    title = "Member not found"


class MemberErased(Problem):
    """The member was erased; a member_id is never used again."""

    status = 410
    code = "member_erased"
    title = "The member was erased"


class ExportTooLarge(Problem):
    """More is held about the member than one answer may have; carries `rows`."""

    status = 409
    code = "export_too_large"
    title = "The export is too large for an answer"


class PurchaseNotFound(Problem):
    """The member has no purchase with this purchase_id; a return that waits for one does not make it."""

    status = 404
    code = "purchase_not_found"
    title = "Purchase not found"


class RewardNotFound(Problem):
    """The terms in force have no such reward."""

    status = 404
    code = "reward_not_found"
    title = "Reward not found"


class InsufficientPoints(Problem):
    """The balance is below what is to be taken from it; carries `balance_points` and `needed_points`."""

    status = 409
    code = "insufficient_points"
    title = "Not enough points"


class AdjustmentNotFound(Problem):
    """No adjustment with this id, or its member was erased."""

    status = 404
    code = "adjustment_not_found"
    title = "Adjustment not found"


class AdjustmentDecided(Problem):
    """It was posted or rejected already; carries `state`."""

    status = 409
    code = "adjustment_decided"
    title = "The adjustment was decided already"


class SecondPersonNeeded(Problem):
    """Who asked for an adjustment cannot decide about it."""

    status = 403
    code = "second_person_needed"
    title = "Somebody else has to decide"


class VoucherNotFound(Problem):
    """Unknown, malformed and foreign codes answer alike."""

    limited = True
    status = 404
    code = "voucher_not_found"
    title = "Voucher not found"


class VoucherAlreadyRedeemed(Problem):
    """A purchase used it; carries `redeemed_at`."""

    status = 409
    code = "voucher_already_redeemed"
    title = "Voucher already redeemed"


class VoucherReserved(Problem):
    """A checkout holds it for another purchase; carries `reserved_until`."""

    status = 409
    code = "voucher_reserved"
    title = "Voucher reserved for another purchase"


class RedemptionIsFinal(Problem):
    """A purchase event has named the voucher: it was sold, and only a complete return ends the use."""

    status = 409
    code = "redemption_is_final"
    title = "The redemption can no longer be undone"


class VoucherCancelled(Problem):
    """Staff cancelled it and its points went back; carries `cancelled_at`."""

    status = 409
    code = "voucher_cancelled"
    title = "Voucher cancelled"


class VoucherExpired(Problem):
    """Its last day has passed; carries `valid_until`."""

    status = 409
    code = "voucher_expired"
    title = "Voucher expired"


class VoucherNotApplicable(Problem):
    """The basket holds less than the voucher's value in the classes it may pay for; carries `payable_cents`."""

    status = 409
    code = "voucher_not_applicable"
    title = "Voucher does not fit this basket"


class PurchaseHasVoucher(Problem):
    """The purchase has redeemed or reserved another voucher."""

    status = 409
    code = "purchase_has_voucher"
    title = "Only one voucher a purchase"
