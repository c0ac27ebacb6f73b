"""Answers to surveys, and what they come to."""

from typing import Annotated

from fastapi import APIRouter, Path, Query
from programme.instants import from_datetime, to_datetime
from pydantic import Field
from webapi.auth import Caller, require
from webapi.database import RequestSnapshot, RequestTransaction
from webapi.models import Instant, Model
from webapi.problems import Malformed, responses

from customer_status.errors import SurveyAnswered, SurveyNotFound
from customer_status.offers.bodies import CalendarInstant
from customer_status.parameters import Now
from customer_status.surveys import store

router = APIRouter(tags=["surveys"])

SurveyId = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$", description="As in the reason of the recommended contact")]


class AnswerRequest(Model):
    """How satisfied the member is: 0 not at all, the survey's `best_score` fully."""

    score: Annotated[int, Field(ge=0, le=1_000)]


class AnswerBody(Model):
    """The answer that counts: the first one."""

    survey_id: str
    best_score: int
    score: int
    answered_at: Instant


class ScoresBody(Model):
    """`by_score` tells how often each score was given, by score."""

    asked: int
    answered: int
    by_score: dict[str, int]


@router.post("/v1/surveys/{survey_id}/answer", responses=responses(SurveyNotFound, SurveyAnswered))
async def answer_survey(
    survey_id: SurveyId,
    body: AnswerRequest,
    transaction: RequestTransaction,
    now: Now,
    caller: Annotated[Caller, require("surveys:write")],
) -> AnswerBody:
    """Record a member's answer. The first answer stays; the same one again changes nothing."""
    await store.answer(transaction, survey_id, body.score, now)
    survey = await store.find_survey(transaction, survey_id)
    if survey is None:
        raise SurveyNotFound("there is no such survey")
    if survey.score is None or survey.answered_us is None:
        raise Malformed.at("body", "score", f"must be at most {survey.best_score}")
    if survey.score != body.score:
        raise SurveyAnswered("the first answer stays", score=survey.score)
    return AnswerBody(
        survey_id=survey_id,
        best_score=survey.best_score,
        score=survey.score,
        answered_at=to_datetime(survey.answered_us),
    )


@router.get("/v1/reports/satisfaction")
async def satisfaction(
    begin: Annotated[CalendarInstant, Query(alias="from", description="Surveys asked from this instant on")],
    end: Annotated[CalendarInstant, Query(alias="to", description="... and before this one")],
    snapshot: RequestSnapshot,
    caller: Annotated[Caller, require("operations:read")],
) -> ScoresBody:
    """How the surveys of a period were answered, without names."""
    asked, scores = await store.scores_between(snapshot, from_datetime(begin), from_datetime(end))
    by_score = {str(score): times for score, times in scores.items()}
    return ScoresBody(asked=asked, answered=sum(scores.values()), by_score=by_score)
