"""All SQL on surveys."""

from collections.abc import Sequence
from typing import NamedTuple

from eventing.database import Connection
from programme.instants import from_datetime, to_datetime


class Survey(NamedTuple):
    """A question about a purchase; `score` is None while nobody answered."""

    survey_id: str
    best_score: int
    asked_us: int
    score: int | None
    answered_us: int | None


class Asked(NamedTuple):
    """A survey that is asked now."""

    survey_id: str
    account_no: int
    purchase_id: str
    best_score: int


async def insert_surveys(conn: Connection, asked: Sequence[Asked], at_us: int) -> None:
    """Add surveys."""
    await conn.executemany(
        """
        INSERT INTO survey (survey_id, account_no, purchase_id, best_score, asked_at) VALUES ($1, $2, $3, $4, $5)""",
        [(*each, to_datetime(at_us)) for each in asked],
    )


async def find_survey(conn: Connection, survey_id: str) -> Survey | None:
    """A survey; None if unknown."""
    row = await conn.fetchrow(
        "SELECT survey_id, best_score, asked_at, score, answered_at FROM survey WHERE survey_id = $1", survey_id
    )
    if row is None:
        return None
    answered_at = row["answered_at"]
    answered_us = None if answered_at is None else from_datetime(answered_at)
    return Survey(row["survey_id"], row["best_score"], from_datetime(row["asked_at"]), row["score"], answered_us)


async def answer(conn: Connection, survey_id: str, score: int, at_us: int) -> None:
    """Note the answer if there is none yet; a condition on the one row it changes, so the first answer wins."""
    await conn.execute(
        """
        UPDATE survey SET score = $2, answered_at = $3
        WHERE survey_id = $1 AND score IS NULL AND $2 BETWEEN 0 AND best_score""",
        survey_id,
        score,
        to_datetime(at_us),
    )


async def scores_between(conn: Connection, from_us: int, to_us: int) -> tuple[int, dict[int, int]]:
    """Of the surveys asked from one instant to before another: how many, and how often each score was given."""
    rows = await conn.fetch(
        "SELECT score, count(*) AS times FROM survey WHERE asked_at >= $1 AND asked_at < $2 GROUP BY 1 ORDER BY 1",
        to_datetime(from_us),
        to_datetime(to_us),
    )
    scores = {row["score"]: row["times"] for row in rows if row["score"] is not None}
    return sum(row["times"] for row in rows), scores
