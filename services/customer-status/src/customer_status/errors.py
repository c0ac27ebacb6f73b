"""The domain's refusals with their HTTP status and stable code, rendered once by webapi as problem details."""

from webapi.problems import Problem


class MemberNotFound(Problem):
    """No member with this member_id."""

    status = 404
    code = "member_not_found"
    title = "Member not found"
