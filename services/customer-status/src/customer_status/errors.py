"""The domain's refusals with their HTTP status and stable code, rendered once by webapi as problem details."""

from webapi.problems import Problem


class MemberNotFound(Problem):
    """No member with this member_id."""

    status = 404
    code = "member_not_found"
    title = "Member not found"


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
