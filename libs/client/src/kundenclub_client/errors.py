"""What can go wrong, by who can do something about it. The classes of single codes are in `problems`."""

from typing import Any

import msgspec


class ClientError(Exception):
    """The base of everything this client raises."""


class NoAnswer(ClientError):
    """Nothing was heard, in spite of all attempts: whether it was done is unknown. Send the same call again later."""


class Unreadable(ClientError):
    """The answer is none of this service: a wrong address, or a proxy in between. Not whether it was done."""


class ServiceProblem(ClientError):
    """The service refused or failed (RFC 9457). Decide by the class or `code`; `detail` is for people."""

    code: str = ""

    def __init__(self, problem: "Problem", retry_after_seconds: float | None, members: dict[str, Any]) -> None:
        super().__init__(f"{problem.status} {problem.code}: {problem.detail} (request {problem.request_id})")
        self.status = problem.status
        self.code = problem.code
        self.title = problem.title
        self.detail = problem.detail
        self.request_id = problem.request_id
        self.retry_after_seconds = retry_after_seconds
        self.members = members
        """All members of the problem, `balance_points` of an InsufficientPoints say."""


class Problem(msgspec.Struct, frozen=True):
    """Problem details as they arrive."""

    title: str
    status: int
    code: str
    detail: str
    request_id: str


class BadCredential(ServiceProblem):
    """401: the credential is missing, wrong, expired or revoked."""


class NotAllowed(ServiceProblem):
    """403: the credential has not the scope."""


class Missing(ServiceProblem):
    """404 or 410: there is no such member, purchase, voucher, or no longer."""


class Conflict(ServiceProblem):
    """409: the state of things forbids it; asking again will not help, something has to change first."""


class Refused(ServiceProblem):
    """Other 4xx: the request is wrong; the same one will be refused for ever."""


class TooMany(ServiceProblem):
    """429: wait `retry_after_seconds`."""


class ServiceFailed(ServiceProblem):
    """5xx: nothing is wrong with the request. Send the same call again later."""


BY_STATUS: dict[int, type[ServiceProblem]] = {
    401: BadCredential,
    403: NotAllowed,
    404: Missing,
    409: Conflict,
    410: Missing,
    429: TooMany,
}


def kind_of(status: int) -> type[ServiceProblem]:
    """The class of a status."""
    return BY_STATUS.get(status, ServiceFailed if status >= 500 else Refused)
