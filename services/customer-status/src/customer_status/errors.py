"""The domain's refusals with their HTTP status and stable code, rendered once by webapi as problem details."""

from webapi.problems import Problem


class MemberNotFound(Problem):
    """No member with this member_id."""

    status = 404
    code = "member_not_found"
    title = "Member not found"


class ExportTooLarge(Problem):
    """More is held about the member than one answer may have; carries `rows`."""

    status = 409
    code = "export_too_large"
    title = "The export is too large for an answer"


class SnapshotNotFound(Problem):
    """No snapshot was taken of the date; where a class is wanted, of no date up to it."""

    status = 404
    code = "snapshot_not_found"
    title = "Snapshot not found"


class DateInTheFuture(Problem):
    """What has not happened cannot be kept."""

    status = 422
    code = "date_in_the_future"
    title = "The date has not begun"


class OfferNotFound(Problem):
    """No offer with this number."""

    status = 404
    code = "offer_not_found"
    title = "Offer not found"


class SlotNotFound(Problem):
    """The offer has no such slot, or staff removed it."""

    status = 404
    code = "slot_not_found"
    title = "Slot not found"


class ClaimNotFound(Problem):
    """The member never claimed this offer."""

    status = 404
    code = "claim_not_found"
    title = "Claim not found"


class OfferClosed(Problem):
    """Its period is over, or staff closed it."""

    status = 409
    code = "offer_closed"
    title = "The offer is closed"


class NotOpenYet(Problem):
    """Its period has not begun; carries `opens_at`."""

    status = 409
    code = "not_open_yet"
    title = "The offer is not open yet"


class LevelTooLow(Problem):
    """Carries the member's `level` and the offer's `least_level`."""

    status = 409
    code = "level_too_low"
    title = "The member's level is too low"


class OfferFull(Problem):
    """All its seats are claimed."""

    status = 409
    code = "offer_full"
    title = "No seat is left"


class SlotTaken(Problem):
    """Somebody has claimed the slot."""

    status = 409
    code = "slot_taken"
    title = "The slot is taken"


class SlotOver(Problem):
    """The slot has begun."""

    status = 409
    code = "slot_over"
    title = "The slot has begun"


class AlreadyClaimed(Problem):
    """The member has another slot of this offer; carries `slot_no`."""

    status = 409
    code = "already_claimed"
    title = "The member has claimed this offer"


class CapacityBelowClaims(Problem):
    """More seats are claimed than would be left; carries `claimed`."""

    status = 409
    code = "capacity_below_claims"
    title = "More seats are claimed"


class NoKeyAccount(Problem):
    """Contact persons are for members of class A in the newest snapshot."""

    status = 409
    code = "no_key_account"
    title = "Not a key account"


class SurveyNotFound(Problem):
    """No survey with this id, or its member was erased before they answered."""

    status = 404
    code = "survey_not_found"
    title = "Survey not found"


class SurveyAnswered(Problem):
    """Another score was given before; carries it as `score`."""

    status = 409
    code = "survey_answered"
    title = "The survey was answered"
