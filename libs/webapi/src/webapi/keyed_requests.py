"""Many requests with an Idempotency-Key in one transaction: their keys, their effects and their answers together."""

from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Generic, NamedTuple, TypeVar

from fastapi import Response

from webapi.database import Connection, Database
from webapi.idempotency import Claim, InFlight, Remembered, claim_all, remember_all, replay
from webapi.problems import Problem
from webapi.together import Together

Order = TypeVar("Order")


class Answer(NamedTuple):
    """A success: its JSON, and what is kept of that to repeat it, which holds no secret."""

    status: int
    body: bytes
    kept: bytes


class _Asked(NamedTuple, Generic[Order]):
    claim: Claim
    order: Order


class KeyedRequests(Generic[Order]):
    """What a route with `keyed(...)` hands its requests to."""

    def __init__(
        self,
        database: Database,
        carry_out: Callable[[Connection, Sequence[Order]], Awaitable[Sequence[Answer | Problem]]],
        complete: Callable[[Connection, bytes], Awaitable[bytes]],
        whose: Callable[[Order], Hashable],
    ) -> None:
        """`carry_out` gives each order's answer or problem; `complete` the body to repeat, of what was kept.

        Orders of the same owner, which `whose` tells, are never carried out at the same time.
        """
        self._carry_out = carry_out
        self._complete = complete
        self._together = Together(database, self._answer_all, lambda asked: whose(asked.order))
        self._under_way: set[tuple[str, str]] = set()

    async def answer(self, claim: Claim, order: Order) -> Response:
        """The answer to the first request of its key, or that again. Raises the order's problem, InFlight, KeyReused
        and Unavailable.
        """
        key = claim.caller, claim.key
        if key in self._under_way:
            raise InFlight()
        self._under_way.add(key)
        try:
            return await self._together.result_of(_Asked(claim, order))
        finally:
            self._under_way.discard(key)

    async def _answer_all(self, connection: Connection, asked: Sequence[_Asked[Order]]) -> Sequence[Response | Problem]:
        outcomes = await claim_all(connection, [each.claim for each in asked])
        new = [each for each, outcome in zip(asked, outcomes, strict=True) if outcome is None]
        answers = await self._carry_out(connection, [each.order for each in new]) if new else []
        kept = [
            (each.claim, Remembered(answer.status, answer.kept))
            for each, answer in zip(new, answers, strict=True)
            if isinstance(answer, Answer)
        ]
        if kept:
            await remember_all(connection, kept)
        fresh = iter(answers)
        return [
            await self._again(connection, outcome) if isinstance(outcome, Remembered) else outcome or _told(next(fresh))
            for outcome in outcomes
        ]

    async def _again(self, connection: Connection, answer: Remembered) -> Response:
        return replay(answer._replace(body=await self._complete(connection, answer.body)))


def _told(answer: Answer | Problem) -> Response | Problem:
    if isinstance(answer, Problem):
        return answer
    return Response(answer.body, answer.status, media_type="application/json")
