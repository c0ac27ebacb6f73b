"""Which contacts are to be recommended for a member at a moment (rules 3.17), and why. Pure.

Everything here is a function of what is known of the member at that moment and of what was told before. So it does not
matter when, how often or how late somebody asks: what is due and was not told is told then, once.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from programme.benefit_terms import ContactTerms
from programme.calendar import civil_day, date_of, midnight_us
from programme.instants import format_instant
from programme.lifecycle import standing_on
from programme.terms import BASE_LEVEL, LEVELS, Terms
from programme.timeline import BASIS, Timeline, step_at

WELCOME, PROMOTION, LAPSE, LAPSE_WARNING = "welcome", "promotion", "lapse", "lapse_warning"
VOUCHER_EXPIRING, POINTS_EXPIRING = "voucher_expiring", "points_expiring"
REACTIVATION, AT_RISK, INVITATION, SURVEY = "reactivation", "at_risk", "invitation", "survey"
CONTACT_KINDS = (
    PROMOTION,
    WELCOME,
    LAPSE_WARNING,
    VOUCHER_EXPIRING,
    POINTS_EXPIRING,
    LAPSE,
    REACTIVATION,
    AT_RISK,
    INVITATION,
    SURVEY,
)
"""The more important ones first: they are told when not all may be."""


class Contact(NamedTuple):
    """One recommendation. `kind` and `cause` make it unique for a member; it is told in `[due_us, until_us)`.

    Whoever was told of such a thing since `same_since_us` was told of this one; None: only the same cause counts.
    """

    kind: str
    cause: str
    due_us: int
    until_us: int
    reason: Mapping[str, Any]
    same_since_us: int | None = None


class Told(NamedTuple):
    """A contact that was recommended before; `level` is that of its reason, None if it has none."""

    kind: str
    cause: str
    told_us: int
    level: str | None = None


class Bought(NamedTuple):
    """A purchase of which something remains."""

    purchase_id: str
    occurred_us: int


class Notice(NamedTuple):
    """What another service said will end: `kind` is `VOUCHER_EXPIRING` or `POINTS_EXPIRING`."""

    kind: str
    cause: str
    received_us: int
    ends_us: int
    reason: Mapping[str, Any]


class OpenOffer(NamedTuple):
    """An offer members are told of, with a seat left, that this member has not claimed."""

    offer_id: int
    title: str
    least_level: str
    opens_us: int
    closes_us: int


@dataclass(frozen=True)
class Facts:
    """What is known of a member at the moment that is judged.

    `missing_points` tells how many more points keep the level; it is asked only when a level is about to lapse.
    """

    joined_us: int | None = None
    timeline: Timeline = BASIS
    bought: Sequence[Bought] = ()
    notices: Sequence[Notice] = ()
    offers: Sequence[OpenOffer] = ()
    missing_points: Callable[[], int | None] = field(default=lambda: None)


def contacts_to_tell(terms: Terms, facts: Facts, told: Sequence[Told], at_us: int) -> list[Contact]:
    """What to recommend now, the most important first: due, not told before, and no more than the month has room for.

    `terms` are those in force at `at_us`. Whether the member wants to hear it is not judged here.
    """
    month = _month(civil_day(at_us))
    room = terms.contacts.most_a_month - sum(_month(civil_day(each.told_us)) == month for each in told)
    return untold_contacts(terms, facts, told, at_us)[: max(0, room)]


def untold_contacts(terms: Terms, facts: Facts, told: Sequence[Told], at_us: int) -> list[Contact]:
    """What is due and was not told before, the most important first, whatever room the month has."""
    day = civil_day(at_us)
    due = [each for each in due_contacts(terms, facts, at_us) if not _is_known(terms.contacts, each, told, day)]
    return sorted(due, key=lambda each: (CONTACT_KINDS.index(each.kind), each.due_us, each.cause))


def due_contacts(terms: Terms, facts: Facts, at_us: int) -> list[Contact]:
    """Everything that is due at `at_us`, told before or not."""
    found = [
        *_welcome(terms.contacts, facts),
        *_level_change(terms.contacts, facts, at_us),
        *_lapse_warning(terms.contacts, facts, at_us),
        *(Contact(*notice) for notice in facts.notices),
        *_silence(terms, facts, at_us),
        *_invitations(facts, at_us),
        *_survey(terms.contacts, facts, at_us),
    ]
    return [each for each in found if each.due_us <= at_us < each.until_us]


def next_moment_us(facts: Facts, at_us: int) -> int | None:
    """The first moment after `at_us` at which something these facts tell of may be due; None if they tell of none.

    Clocks differ: what was received, or happened by the clock of a till, may lie a little after the moment that is
    judged. Everything else becomes due at a midnight.
    """
    instants = [
        facts.joined_us,
        *(step.after_us for step in facts.timeline),
        *(each.received_us for each in facts.notices),
    ]
    later = [us for us in instants if us is not None and us >= at_us]
    return min(later) + 1 if later else None


def _is_known(terms: ContactTerms, contact: Contact, told: Sequence[Told], day: int) -> bool:
    """Whether it was told, or something that says the same.

    A late event can move the instant of a promotion, a lapse or a silence that was told already: who was told of such
    a thing since it began, and of a change of level that went as far, is not told again.
    """
    of_kind = [each for each in told if each.kind == contact.kind]
    if any(each.cause == contact.cause for each in of_kind):
        return True
    if contact.kind == SURVEY:
        return any(day < civil_day(each.told_us) + terms.survey_every_days for each in of_kind)
    since_us = contact.same_since_us
    return since_us is not None and any(each.told_us >= since_us and _went_as_far(each, contact) for each in of_kind)


def _went_as_far(told: Told, contact: Contact) -> bool:
    if told.level is None:
        return True
    further = LEVELS.index(told.level) - LEVELS.index(contact.reason["level"])
    return further >= 0 if contact.kind == PROMOTION else further <= 0


def _welcome(terms: ContactTerms, facts: Facts) -> list[Contact]:
    if facts.joined_us is None:
        return []
    until_us = _late_until_us(terms, civil_day(facts.joined_us))
    return [Contact(WELCOME, "joined", facts.joined_us, until_us, {"joined_at": format_instant(facts.joined_us)})]


def _level_change(terms: ContactTerms, facts: Facts, at_us: int) -> list[Contact]:
    """Only the step the member stands on: who went on to gold, or lost it again, is not told of the silver before."""
    step = step_at(facts.timeline, at_us)
    if step.after_us is None:
        return []
    before = facts.timeline[facts.timeline.index(step) - 1].level
    since = format_instant(step.after_us)
    kind = PROMOTION if LEVELS.index(step.level) > LEVELS.index(before) else LAPSE
    reason = {"level": step.level, "previous_level": before, "since": since}
    until_us = _late_until_us(terms, civil_day(step.after_us))
    return [Contact(kind, f"{step.level}:{since}", step.after_us, until_us, reason, same_since_us=step.after_us)]


def _lapse_warning(terms: ContactTerms, facts: Facts, at_us: int) -> list[Contact]:
    """The nearest of the warnings that are due: one that was missed is not told after a later one."""
    step = step_at(facts.timeline, at_us)
    following = facts.timeline[facts.timeline.index(step) + 1 :]
    if step.level == BASE_LEVEL or not following:
        return []
    lapse = following[0]
    assert lapse.after_us is not None, "only the first step holds since ever"
    lapse_day = civil_day(lapse.after_us)
    for days in sorted(terms.lapse_warning_days):
        due_us = midnight_us(lapse_day - days)
        if due_us <= at_us:
            lapses_at = format_instant(lapse.after_us)
            reason = {
                "level": step.level,
                "next_level": lapse.level,
                "lapses_at": lapses_at,
                "days_before": days,
                "missing_points": facts.missing_points(),
            }
            return [Contact(LAPSE_WARNING, f"{step.level}:{lapses_at}:{days}", due_us, lapse.after_us, reason)]
    return []


def _silence(terms: Terms, facts: Facts, at_us: int) -> list[Contact]:
    days = sorted({civil_day(each.occurred_us) for each in facts.bought if each.occurred_us <= at_us})
    standing = standing_on(terms.lifecycle, days, civil_day(at_us))
    found = []
    if standing.at_risk_since_day is not None:
        found.append(_flag(terms.contacts, AT_RISK, standing.at_risk_since_day, days[-1]))
    if standing.reactivated_day is not None:
        found.append(_flag(terms.contacts, REACTIVATION, standing.reactivated_day, standing.reactivated_day))
    return found


def _flag(terms: ContactTerms, kind: str, due_day: int, since_day: int) -> Contact:
    """One a silence: `since_day` is that of the purchase before it, or of the one that ended it."""
    since = date_of(since_day).isoformat()
    until_us = _late_until_us(terms, due_day)
    return Contact(kind, since, midnight_us(due_day), until_us, {"purchased_on": since}, midnight_us(since_day))


def _invitations(facts: Facts, at_us: int) -> list[Contact]:
    level = LEVELS.index(step_at(facts.timeline, at_us).level)
    return [
        Contact(
            INVITATION,
            str(offer.offer_id),
            offer.opens_us,
            offer.closes_us,
            {"offer_id": offer.offer_id, "title": offer.title, "closes_at": format_instant(offer.closes_us)},
        )
        for offer in facts.offers
        if level >= LEVELS.index(offer.least_level)
    ]


def _survey(terms: ContactTerms, facts: Facts, at_us: int) -> list[Contact]:
    """Of the newest purchase that is due and not long over."""
    found = []
    for each in facts.bought:
        due_day = civil_day(each.occurred_us) + terms.survey_after_days
        contact = Contact(
            SURVEY,
            each.purchase_id,
            midnight_us(due_day),
            _late_until_us(terms, due_day),
            {"purchase_id": each.purchase_id, "best_score": terms.survey_best_score},
        )
        if contact.due_us <= at_us < contact.until_us:
            found.append((each.occurred_us, each.purchase_id, contact))
    return [max(found)[2]] if found else []


def _late_until_us(terms: ContactTerms, due_day: int) -> int:
    """The end of the last civil day on which something that became due on `due_day` is still told."""
    return midnight_us(due_day + terms.late_at_most_days + 1)


def _month(day: int) -> tuple[int, int]:
    date = date_of(day)
    return date.year, date.month
