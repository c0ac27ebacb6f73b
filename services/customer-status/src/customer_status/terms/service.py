"""Refusing to work by a programme whose past was edited (rules 3.11)."""

import time
from functools import partial

from eventing import dated_documents
from eventing.database import Connection
from programme.past_terms import keep_terms
from programme.terms import Programme

TERMS = "terms"
"""The table."""


async def adopt(conn: Connection, programme: Programme) -> None:
    """What a process does at its start: remember its terms. Raises WorkerStopped if terms that have begun differ."""
    await dated_documents.adopt(conn, TERMS, partial(keep_terms, programme=programme, at_us=_now_us()))


async def check(conn: Connection, programme: Programme) -> None:
    """What a command does: compare, and write nothing. Raises Refused if terms that have begun differ."""
    await dated_documents.check(conn, TERMS, partial(keep_terms, programme=programme, at_us=_now_us()))


def _now_us() -> int:
    return time.time_ns() // 1000
