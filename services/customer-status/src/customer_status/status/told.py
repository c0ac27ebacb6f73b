"""A member's status as the JSON that callers are told; `StatusBody` describes it."""

from typing import Any

from programme.calendar import date_of
from programme.instants import format_instant
from programme.terms import Programme

from customer_status.status.domain import Known, ToldStep, benefits_of, told_steps
from customer_status.status.levels import status_at


def told_status(programme: Programme, member_id: str, known: Known, at_us: int) -> dict[str, Any]:
    """All that follows from purchases and returns, at an instant."""
    status, terms = status_at(programme, known.timeline, known.purchases, at_us), programme.at(at_us)
    return {
        "member_id": member_id,
        "at": format_instant(at_us),
        "level": status.level,
        "bonus_percent": terms.bonus_percent[status.level],
        "since": _instant(status.since_us),
        "held_until": _instant(status.held_until_us),
        "collected_points": status.collected_points,
        "next_level": status.next_level,
        "points_to_next_level": status.points_to_next_level,
        "points_to_keep_level": status.points_to_keep_level,
        "timeline": [_step(step) for step in told_steps(known)],
        "lifecycle": _lifecycle(known, programme, at_us),
        "benefits": benefits_of(status.level, terms.offers),
    }


def _step(step: ToldStep) -> dict[str, Any]:
    return {
        "after": _instant(step.after_us),
        "level": step.level,
        "reason": step.reason,
        "causes": [
            {"kind": cause.kind, "id": cause.id, "occurred_at": format_instant(cause.occurred_us)}
            for cause in step.causes
        ],
    }


def _lifecycle(known: Known, programme: Programme, at_us: int) -> dict[str, Any]:
    status, at_risk_since, reactivated = known.standing(programme, at_us)
    return {"status": status, "at_risk_since": _date(at_risk_since), "reactivated_on": _date(reactivated)}


def _instant(us: int | None) -> str | None:
    return None if us is None else format_instant(us)


def _date(day: int | None) -> str | None:
    return None if day is None else date_of(day).isoformat()
