"""Finds what is due and not told for some members, notes it, and hands it to the outbox; in its caller's transaction.

Looking is cheap and locks nothing. Only members for whom something turns out to be due are locked, read again and
judged again, so that what is published is true at that moment: the consent, the level, and what was told before.
"""

import secrets
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from eventing.database import Connection
from eventing.outbox import enqueue
from eventing.records import Message
from programme.calendar import civil_day, date_of, day_of, midnight_us
from programme.contacts import (
    SURVEY,
    Bought,
    Contact,
    Facts,
    OpenOffer,
    Told,
    contacts_to_tell,
    next_moment_us,
    untold_contacts,
)
from programme.terms import Programme

from customer_status.consents.store import granted_channels
from customer_status.contacts import store
from customer_status.contacts.domain import Look, Recommendation
from customer_status.events import contact_recommended
from customer_status.offers.inviting_store import claimed_offers, inviting_offers, last_opened_us
from customer_status.status import domain as status
from customer_status.status.levels import status_at
from customer_status.surveys.store import Asked, insert_surveys
from customer_status.tiers.domain import PurchaseRow
from customer_status.tiers.store import lock_known_accounts, read_purchases


class Passed(NamedTuple):
    """What was done: up to which account, for how many members was looked, and how many contacts came of it."""

    to_no: int
    looked: int
    told: int


class Judged(NamedTuple):
    """What is due for a member, and the moment before the next midnight to look again, if there is one."""

    due: list[Recommendation]
    next_us: int | None


class Known(NamedTuple):
    """A member who may be contacted over `channels`: what is known of them, and what was told before."""

    look: Look
    channels: list[str]
    facts: Facts
    told: Sequence[Told]


async def tell_due(conn: Connection, programme: Programme, at_us: int, after_no: int, to_no: int, limit: int) -> Passed:
    """Look at the next members whose time has come, at most `limit` of those with numbers up to `to_no`."""
    opened_us = await last_opened_us(conn, at_us)
    looks = await store.looks_due(conn, after_no, to_no, limit, at_us, opened_us)
    last_no = to_no if len(looks) < limit else looks[-1].account_no
    if not looks:
        await store.drop_ended_notices(conn, after_no, last_no, at_us)
        return Passed(last_no, 0, 0)
    offers = await inviting_offers(conn, at_us)
    found = await _judge(conn, programme, looks, offers, at_us)
    promising = [account_no for account_no, judged in found.items() if judged.due]
    if promising:
        locked = await lock_known_accounts(conn, promising)
        again = await store.looks_at(conn, locked)
        looks = [look for look in looks if look.account_no not in promising] + again
        unpromising = {account_no: judged for account_no, judged in found.items() if not judged.due}
        found = unpromising | await _judge(conn, programme, again, offers, at_us)
    messages = await _note(conn, [each for judged in found.values() for each in judged.due], at_us)
    # All else that becomes due by itself does so at a midnight, or a microsecond later: a level is held until then.
    midnight = midnight_us(civil_day(at_us) + 1) + 1
    next_us = [
        min(midnight, found[n].next_us or midnight) if (n := look.account_no) in found else midnight for look in looks
    ]
    await store.drop_ended_notices(conn, after_no, last_no, at_us)
    await store.note_looks(conn, looks, at_us, next_us)
    await enqueue(conn, messages)
    return Passed(last_no, len(looks), len(messages))


async def held_back_this_month(conn: Connection, programme: Programme, at_us: int) -> dict[int, list[Contact]]:
    """What is due at `at_us` and not told because its members were told as much this month as the terms allow.

    By account, without accounts for which nothing more is due. Reads only.
    """
    terms, first = programme.at(at_us), date_of(civil_day(at_us)).replace(day=1)
    full = await store.told_as_often(conn, midnight_us(day_of(first)), terms.contacts.most_a_month)
    known = await _known(conn, programme, await store.looks_at(conn, full), await inviting_offers(conn, at_us), at_us)
    held = {no: untold_contacts(terms, each.facts, each.told, at_us) for no, each in known.items()}
    return {account_no: contacts for account_no, contacts in held.items() if contacts}


async def _judge(
    conn: Connection, programme: Programme, looks: Sequence[Look], offers: Sequence[OpenOffer], at_us: int
) -> dict[int, Judged]:
    """What is due for those of these members who agreed to be contacted at all."""
    found: dict[int, Judged] = {}
    for account_no, (look, channels, facts, told) in (await _known(conn, programme, looks, offers, at_us)).items():
        due = contacts_to_tell(programme.at(at_us), facts, told, at_us)
        wanted = [_recommendation(look, each, channels) for each in due]
        found[account_no] = Judged(wanted, next_moment_us(facts, at_us))
    return found


async def _known(
    conn: Connection, programme: Programme, looks: Sequence[Look], offers: Sequence[OpenOffer], at_us: int
) -> dict[int, Known]:
    """What is known of those of these members who agreed to be contacted at all."""
    channels = await granted_channels(conn, [look.account_no for look in looks])
    reachable = {look.account_no: look for look in looks if look.account_no in channels}
    if not reachable:
        return {}
    purchases = await read_purchases(conn, {look.account_no: look.member_id for look in reachable.values()})
    told = await store.told(conn, reachable)
    notices = await store.notices(conn, reachable, at_us)
    claimed = await claimed_offers(conn, reachable, [offer.offer_id for offer in offers])
    found: dict[int, Known] = {}
    for account_no, look in reachable.items():
        facts = Facts(
            joined_us=look.joined_us,
            timeline=look.timeline,
            bought=_kept(purchases[account_no]),
            notices=notices.get(account_no, ()),
            offers=[offer for offer in offers if (account_no, offer.offer_id) not in claimed],
            missing_points=partial(_missing_points, programme, look, purchases, at_us),
        )
        found[account_no] = Known(look, channels[account_no], facts, told.get(account_no, ()))
    return found


def _kept(purchases: Collection[PurchaseRow]) -> list[Bought]:
    return [Bought(row.fact.purchase_id, row.fact.occurred_us) for row in purchases if row.remaining_total_cents > 0]


def _missing_points(
    programme: Programme, look: Look, purchases: Mapping[int, Collection[PurchaseRow]], at_us: int
) -> int | None:
    rows = purchases[look.account_no]
    bought = [
        status.Bought(
            row.fact.purchase_id,
            row.fact.occurred_us,
            civil_day(row.fact.occurred_us),
            row.eligible_cents,
            row.total_cents,
            row.returned_cents,
            row.returned_total_cents,
            row.returned_completely,
        )
        for row in rows
    ]
    return status_at(programme, look.timeline, bought, at_us).points_to_keep_level


def _recommendation(look: Look, contact: Contact, channels: list[str]) -> Recommendation:
    return Recommendation(look, contact, channels, secrets.token_hex(16) if contact.kind == SURVEY else None)


def _asked(wanted: Recommendation, survey_id: str) -> Asked:
    reason = wanted.contact.reason
    return Asked(survey_id, wanted.look.account_no, reason["purchase_id"], reason["best_score"])


async def _note(conn: Connection, wanted: Sequence[Recommendation], at_us: int) -> list[Message]:
    if not wanted:
        return []
    new = await store.insert_contacts(conn, wanted, at_us)
    asked = [_asked(each, each.survey_id) for _, each in new if each.survey_id is not None]
    await insert_surveys(conn, asked, at_us)
    return [contact_recommended(contact_no, each, at_us) for contact_no, each in new]
