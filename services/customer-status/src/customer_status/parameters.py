"""What calls are made of: identifiers as the contracts spell them, and the parts a request takes from the process."""

import re
import time
from datetime import date, datetime
from typing import Annotated, Any

from fastapi import Depends, Path, Request
from programme.calendar import civil_day, day_of
from programme.facts import MEMBER_ID
from programme.instants import from_datetime
from programme.terms import Programme
from pydantic import AfterValidator, BeforeValidator
from webapi.models import Instant

MemberId = Annotated[str, Path(pattern=f"^{MEMBER_ID.pattern}$", description="The member's card number")]

FIRST_DATE, LAST_DATE = date(2000, 1, 1), date(2100, 12, 31)


def _read_date(value: Any) -> Any:
    if isinstance(value, str) and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
        value = date.fromisoformat(value)  # its ValueError is told
    if isinstance(value, date) and FIRST_DATE <= value <= LAST_DATE:
        return value
    raise ValueError(f"must be a date from {FIRST_DATE} to {LAST_DATE}")


def _in_calendar(value: datetime) -> datetime:
    civil_day(from_datetime(value))  # the calendar ends where events do
    return value


CivilDate = Annotated[date, BeforeValidator(_read_date)]
"""A date in Europe/Berlin, `YYYY-MM-DD`."""
AnyInstant = Annotated[Instant, AfterValidator(_in_calendar)]


async def now_us() -> int:
    """The time of this request, microseconds since the epoch. The only clock of the HTTP process."""
    return time.time_ns() // 1000


async def _programme(request: Request) -> Programme:
    programme: Programme = request.app.state.programme
    return programme


def day_asked_for(on: date | None, now: int) -> int:
    """The civil day of a date; today if none was asked for."""
    return civil_day(now) if on is None else day_of(on)


TheProgramme = Annotated[Programme, Depends(_programme)]
Now = Annotated[int, Depends(now_us)]
