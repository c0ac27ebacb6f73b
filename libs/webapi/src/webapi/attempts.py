"""Guessing is limited: how often one client may fail at what is a secret, over all processes together.

A `Problem` class with `limited = True` is a guess that failed. It is counted after the request's transaction was rolled
back, in one of its own, and beyond the limit it is answered with TooManyAttempts. Routes declared with
`require(..., limits=ThatProblem)` refuse the client then before they look, so that a right guess is refused too. A
success costs no statement. A process learns from its own next failure what the others have counted, so within a window
a client has at most the limit and one guess more for every process.
"""

import math
import time
from datetime import timedelta
from typing import NamedTuple

import sqlalchemy as sa

from webapi.database import Connection, Database
from webapi.problems import Problem, TooManyAttempts

KEPT_BLOCKS = 10_000


class AttemptLimit(NamedTuple):
    """So many failures in a window that begins with the first one."""

    failures: int
    window_seconds: int


def failed_attempt_table(metadata: sa.MetaData) -> sa.Table:
    """One row a client and kind; a service's migrations create the table and grant SELECT, INSERT, UPDATE, DELETE."""
    return sa.Table(
        "failed_attempt",
        metadata,
        sa.Column("client", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("failures", sa.Integer, nullable=False, server_default="1"),
        sa.Column("began_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    )


COUNT = """
    INSERT INTO failed_attempt AS f (client, kind) VALUES ($1, $2)
    ON CONFLICT (client, kind) DO UPDATE SET
        failures = CASE WHEN f.began_at <= now() - $3::interval THEN 1 ELSE f.failures + 1 END,
        began_at = CASE WHEN f.began_at <= now() - $3::interval THEN now() ELSE f.began_at END
    RETURNING failures, extract(epoch FROM began_at + $3::interval - now())::float8 AS seconds_left
"""


class Attempts:
    """Counts failures in the database and remembers who is blocked until when."""

    def __init__(self, database: Database, limit: AttemptLimit) -> None:
        self._database = database
        self._limit = limit
        self._blocked_until: dict[tuple[str, str], float] = {}

    def refuse_blocked(self, client: str, kind: str) -> None:
        """Raises TooManyAttempts if this process knows that the client's failures are used up."""
        seconds_left = self._blocked_until.get((client, kind), 0.0) - time.monotonic()
        if seconds_left > 0:
            raise self._problem(seconds_left)

    async def answer(self, client: str, problem: Problem) -> Problem:
        """Count a failed guess; what to answer: `problem`, or TooManyAttempts beyond the limit.

        Raises Unavailable if it cannot be counted: nobody guesses while the database is away.
        """
        async with self._database.transaction() as connection:
            failures, seconds_left = await self._count(connection, client, problem.code)
        if failures <= self._limit.failures:
            return problem
        if len(self._blocked_until) >= KEPT_BLOCKS:
            self._blocked_until.clear()  # they are found out again by their next failure
        self._blocked_until[client, problem.code] = time.monotonic() + seconds_left
        return self._problem(seconds_left)

    async def _count(self, connection: Connection, client: str, kind: str) -> tuple[int, float]:
        row = await connection.fetchrow(COUNT, client, kind, timedelta(seconds=self._limit.window_seconds))
        assert row is not None, "an upsert returns its row"
        return row["failures"], row["seconds_left"]

    def _problem(self, seconds_left: float) -> TooManyAttempts:
        minutes = self._limit.window_seconds / 60
        return TooManyAttempts(
            f"more than {self._limit.failures} attempts failed within {minutes:g} minutes",
            retry_after_seconds=max(1, math.ceil(seconds_left)),
        )


async def purge_attempts(connection: Connection, kept_days: int = 1) -> None:
    """Forget clients that have not failed for so long."""
    await connection.execute("DELETE FROM failed_attempt WHERE began_at < now() - make_interval(days => $1)", kept_days)
