"""The base of all JSON bodies: nothing unknown is let in, nothing is guessed."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, WithJsonSchema


class Model(BaseModel):
    """Unknown fields are refused, "1" is no number and 1 no text; immutable."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)", re.ASCII)


def _read_instant(value: Any) -> Any:
    try:
        if isinstance(value, str) and RFC_3339.fullmatch(value):
            value = datetime.fromisoformat(value)
        if isinstance(value, datetime) and value.tzinfo is not None:
            return value.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise ValueError("must be an RFC 3339 date and time with offset")


def _write_instant(value: datetime) -> str:
    return value.isoformat().replace("+00:00", "Z")


Instant = Annotated[
    datetime,
    BeforeValidator(_read_instant),
    PlainSerializer(_write_instant, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""An aware `datetime`; RFC 3339 with offset in JSON, written in UTC."""
