from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from pydantic import ValidationError
from webapi.models import Instant, Model


class Appointment(Model):
    at: Instant
    seats: int = 1


def test_instants_are_read_with_any_offset_and_written_in_utc() -> None:
    appointment = Appointment.model_validate({"at": "2026-11-22T10:15:30.5+01:00"})
    assert appointment.at == datetime(2026, 11, 22, 9, 15, 30, 500_000, UTC)
    assert appointment.model_dump_json() == '{"at":"2026-11-22T09:15:30.500000Z","seats":1}'


def test_an_instant_is_an_instant_from_python_too() -> None:
    local = datetime(2026, 11, 22, 10, tzinfo=timezone(timedelta(hours=1)))
    assert Appointment(at=local).model_dump_json() == '{"at":"2026-11-22T09:00:00Z","seats":1}'


@pytest.mark.parametrize(
    "at",
    [
        "2026-11-22T10:15:30",
        "2026-11-22",
        "2026-11-22 10:15:30Z",
        "20261122T101530Z",
        "2026-11-22T10:15:30.1234567Z",
        "2026-02-30T10:15:30Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-01:00",
        "\u0662026-11-22T10:15:30Z",
        1_700_000_000,
        None,
        datetime(2026, 11, 22),
    ],
)
def test_what_is_no_instant(at: Any) -> None:
    with pytest.raises(ValidationError, match="must be an RFC 3339 date and time with offset"):
        Appointment.model_validate({"at": at})


@pytest.mark.parametrize("wrong", [{"seats": "1"}, {"seats": True}, {"seats": 1.0}, {"seat": 1}])
def test_nothing_is_guessed_and_nothing_unknown_let_in(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Appointment.model_validate({"at": "2026-11-22T10:15:30Z", **wrong})


def test_models_do_not_change() -> None:
    appointment = Appointment(at=datetime(2026, 11, 22, tzinfo=UTC))
    with pytest.raises(ValidationError):
        appointment.seats = 2


def test_the_schema_says_what_an_instant_is() -> None:
    properties = Appointment.model_json_schema()["properties"]
    assert (properties["at"]["type"], properties["at"]["format"]) == ("string", "date-time")
