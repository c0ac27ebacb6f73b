"""`customer-status verify`: does every level in this database follow from what was bought and given back?

Computed here once more by the pure rules and compared with what the worker keeps and published. Differences are
faults; anomalies are things a retailer should look at, such as more returned than was bought.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

from eventing.database import Connection, allow_long_statements
from eventing.dead_letters import find
from eventing.progress import load_all
from eventing.records import Partition
from eventing.report import Report
from programme.calendar import civil_day
from programme.fold import KnownReturn, fold
from programme.levels import timeline_of
from programme.points import earning_cents, unknown_classes
from programme.terms import Programme
from programme.timeline import Timeline

from customer_status.audit import store
from customer_status.audit.store import History
from customer_status.offers.store import miscounted
from customer_status.tiers.domain import PurchaseRow, ReturnRow, known_return, new_purchase_row, new_return_row
from customer_status.tiers.purchase_days import Bought, days_of

OUTBOX_MAY_WAIT_S = 30

ReadEnds = Callable[[], Awaitable[Mapping[Partition, int]]]


class Judged(NamedTuple):
    """What the rules make of a member's purchases and returns."""

    timeline: Timeline
    purchases: list[PurchaseRow]
    waiting: list[ReturnRow]


async def verify(conn: Connection, programme: Programme, read_ends: ReadEnds | None) -> Report:
    """Check the whole database in one snapshot.

    `read_ends` tells where the log ends (None: not compared). It is asked after the snapshot was taken: a worker that
    goes on meanwhile must not look as if it had read what is not there.
    """
    report = Report("customer-status")
    async with conn.transaction(isolation="repeatable_read", readonly=True):
        await allow_long_statements(conn)
        async for histories in store.histories(conn):
            for history in histories:
                check_member(report, programme, history)
        for text in await store.rows_of_no_member(conn):
            report.check("rows belong to a member").add(text)
        for purchase_id in await store.purchases_under_two_members(conn):
            report.anomaly("purchase_id under two members").add(purchase_id)
        for text in await miscounted(conn):
            report.check("offers whose claims are counted").add(text)
        await _check_messaging(conn, report, read_ends)
    return report


def check_member(report: Report, programme: Programme, history: History) -> None:
    """What is kept and published of a member is what the rules make of the rows."""
    name = history.member_id or f"erased account {history.account_no}"
    judged = _judge(programme, history)
    report.check("members whose levels are those of their purchases").expect(
        timeline_of(history.levels) == judged.timeline, name
    )
    report.check("members whose published timeline is that of their purchases").expect(
        history.published == judged.timeline, name
    )
    report.check("members whose events are counted").expect(
        history.events == len(history.purchases) + len(history.returns), name
    )
    report.check("members whose waiting returns are counted").expect(
        history.waiting_returns == len(judged.waiting), name
    )
    due_days = days_of(
        (Bought(row.day, row.remaining_total_cents) for row in judged.purchases),
        (civil_day(row.fact.occurred_us) for row in history.returns),
    )
    report.check("members whose purchase days are those of their purchases").expect(
        (history.purchase_days, history.purchase_months) == (due_days, due_days.months()), name
    )
    check = report.check("purchases whose sums are those of their returns")
    for kept, due in zip(history.purchases, judged.purchases, strict=True):
        check.expect(kept == due, f"{name} {due.fact.purchase_id}")
        _note_anomalies(report, programme, name, due)
    check = report.check("returns whose sums are those of their lines")
    for row in history.returns:
        check.expect(row == new_return_row(row.account_no, row.fact, row.received_us), f"{name} {row.fact.return_id}")
    for row in judged.waiting:
        waiting = f"{name} {row.fact.return_id} of {row.fact.purchase_id}"
        report.anomaly("returns that wait for their purchase").add(waiting)


def _judge(programme: Programme, history: History) -> Judged:
    """Everything anew, from nothing but what was bought and given back."""
    judged = {
        row.fact.purchase_id: new_purchase_row(programme, row.account_no, row.fact, row.received_us)
        for row in history.purchases
    }
    known: list[KnownReturn] = []
    waiting: list[ReturnRow] = []
    for row in history.returns:
        purchase = judged.get(row.fact.purchase_id)
        if purchase is None:
            waiting.append(row)
            continue
        row = new_return_row(row.account_no, row.fact, row.received_us)
        back = known_return(programme, purchase, row.fact)
        purchase.take_back(back, row.total_cents)
        known.append(back)
    timeline = fold(programme, [row.known() for row in judged.values()], known)
    return Judged(timeline, list(judged.values()), waiting)


def _note_anomalies(report: Report, programme: Programme, name: str, row: PurchaseRow) -> None:
    purchase = f"{name} {row.fact.purchase_id}"
    terms = programme.at(row.fact.occurred_us)
    if row.returned_cents > row.eligible_cents:
        report.anomaly("more returned than bought").add(purchase)
    if earning_cents(row.fact.cents_by_class, terms) < 0:
        report.anomaly("purchases with a negative eligible sum").add(purchase)
    for unknown in sorted(unknown_classes(row.fact.cents_by_class, terms)):
        report.anomaly("product classes the terms do not know").add(f"{purchase} {unknown}")


async def _check_messaging(conn: Connection, report: Report, read_ends: ReadEnds | None) -> None:
    for waiting in await store.old_outbox_rows(conn, OUTBOX_MAY_WAIT_S):
        report.check("messages published in time").add(waiting)
    for letter in await find(conn, state="open"):
        where = f"{letter.record.topic}[{letter.record.partition}]@{letter.record.offset}"
        report.anomaly("open dead letters").add(f"{letter.dead_letter_id} {where} {letter.reason}")
    progress = await load_all(conn)
    for row in progress:
        if row.paused_reason is not None:
            report.anomaly("partitions that wait for an operator").add(f"{_text(row.partition)} {row.paused_reason}")
    if read_ends is None:
        return
    ends = await read_ends()
    check = report.check("partitions read no further than the log goes")
    for row in progress:
        check.expect(row.next_offset <= ends.get(row.partition, 0), f"{_text(row.partition)} {row.next_offset}")


def _text(partition: Partition) -> str:
    return f"{partition.topic}[{partition.number}]"
