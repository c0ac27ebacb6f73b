"""`loyalty verify`: does every number in this database follow from what is known of each purchase?

Computed here once more in Python, from positions, returns and vouchers, and compared with what is posted. Differences
are faults; anomalies are things a retailer should look at, such as more returned than was bought.
"""

from collections.abc import Awaitable, Callable, Mapping

import asyncpg
from eventing.database import allow_long_statements
from eventing.progress import load_all
from eventing.records import Partition
from eventing.report import Report
from programme.expiry import by_year, expired_by, total_by_year
from programme.facts import Return
from programme.points import earning_cents, eligible_cents, unknown_classes
from programme.terms import Programme
from programme.timeline import bonus_percent_at

from loyalty.adjustments.domain import credited_by_year
from loyalty.adjustments.domain import debited_by_year as debited_by_adjustments
from loyalty.audit import store
from loyalty.audit.store import AccountHistory, EntrySum
from loyalty.points.domain import Position
from loyalty.rewards.domain import debited_by_year

OUTBOX_MAY_WAIT = "30 seconds"


ReadEnds = Callable[[], Awaitable[Mapping[Partition, int]]]


async def verify(conn: asyncpg.Connection, programme: Programme, read_ends: ReadEnds | None = None) -> Report:
    """Check the whole database in one snapshot.

    `read_ends` tells where the log of the topics it reads ends. It is asked after the snapshot was taken: progress of
    a snapshot can only be behind a later end.
    """
    report = Report("loyalty")
    async with conn.transaction(isolation="repeatable_read", readonly=True):
        await allow_long_statements(conn)
        async for histories in store.histories(conn):
            await check_accounts(conn, report, programme, histories)
        for purchase_id in await store.purchases_under_two_members(conn):
            report.anomaly("purchase_id under two members").add(purchase_id)
        for purchase_id, voucher_id in await store.vouchers_nobody_issued(conn):
            report.anomaly("purchases that name a voucher nobody issued").add(f"{purchase_id} {voucher_id}")
        for table, rows in (await store.rows_of_no_account(conn)).items():
            report.check("tables whose rows all belong to an account").expect(rows == 0, f"{table}: {rows} do not")
        await _check_messaging(conn, report, read_ends)
    return report


async def check_accounts(
    conn: asyncpg.Connection, report: Report, programme: Programme, histories: list[AccountHistory]
) -> None:
    """Check some accounts, read in the same snapshot, against all that is known of them."""
    sums: dict[int, list[EntrySum]] = {history.account.account_no: [] for history in histories}
    for row in await store.entry_sums(conn, list(sums)):
        sums[row.account_no].append(row)
    for history in histories:
        _check_positions(report, programme, history)
        _check_account(report, history, sums[history.account.account_no])
        _note_anomalies(report, programme, history)


def _name(history: AccountHistory) -> str:
    return history.account.member_id or f"erased account {history.account.account_no}"


def _check_positions(report: Report, programme: Programme, history: AccountHistory) -> None:
    """Each position's sums are those of its purchase and returns, and the points posted are the points due."""
    check = report.check("purchases whose posted points are the points due")
    returns: dict[str, list[Return]] = {}
    for row in history.returns:
        returns.setdefault(row.fact.purchase_id, []).append(row.fact)
    for position in history.positions:
        terms = programme.at(position.purchase.occurred_us)
        back = returns.get(position.purchase.purchase_id, [])
        expected = Position(
            position.account_no,
            position.received_us,
            position.purchase,
            eligible_cents(position.purchase.cents_by_class, terms),
            bonus_percent_at(programme, history.account.timeline, position.purchase.occurred_us),
            sum(eligible_cents(fact.cents_by_class, terms) for fact in back),
            any(fact.complete for fact in back),
        )
        expected.posted_points = expected.due_points()
        check.expect(
            position == expected,
            f"{_name(history)} {position.purchase.purchase_id}: {_differing(position, expected)}",
        )


def _differing(position: Position, expected: Position) -> str:
    names = ("eligible_cents", "bonus_percent", "returned_cents", "returned_completely", "posted_points")
    pairs = [(name, getattr(position, name), getattr(expected, name)) for name in names]
    return ", ".join(f"{name} {kept}, due {due}" for name, kept, due in pairs if kept != due)


def _check_account(report: Report, history: AccountHistory, sums: list[EntrySum]) -> None:
    """The account's entries add up to what its positions and vouchers say, and are numbered without a gap."""
    account, name = history.account, _name(history)
    posted = {row.purchase_id: row.points for row in sums if row.purchase_id is not None}
    due = {p.purchase.purchase_id: p.posted_points for p in history.positions if p.posted_points}
    differing = {key for key in posted.keys() | due.keys() if posted.get(key, 0) != due.get(key, 0)}
    report.check("accounts whose entries of each purchase add up to its points").expect(
        not differing, f"{name}: {', '.join(sorted(differing)[:3])}"
    )
    _check_vouchers(report, history, sums)
    _check_adjustments(report, history, sums)
    balance = sum(row.points for row in sums)
    expired = -sum(row.points for row in sums if row.kind == "expiry")
    report.check("accounts whose balance is the sum of their entries").expect(
        (balance, expired) == (account.balance_points, account.expired_points),
        f"{name}: entries {balance}, balance {account.balance_points}",
    )
    due_expiry = expired_by(account.earned_by_year, account.debited_by_year, account.expiry_year)
    report.check("accounts whose posted expiry is the expiry due at their last boundary").expect(
        account.expired_points == due_expiry,
        f"{name}: {account.expired_points} posted, {due_expiry} due by 1 January {account.expiry_year}",
    )
    entries, last = sum(row.entries for row in sums), max((row.last_entry_no for row in sums), default=0)
    report.check("accounts whose entry numbers have no gap").expect(
        entries == last == account.last_entry_no, f"{name}: {entries} entries, numbered to {last}"
    )
    report.check("accounts whose points by year are those of their purchases, vouchers and adjustments").expect(
        _points_by_year(history) == account.points_by_year(),
        name,
    )
    last_us = max((position.purchase.occurred_us for position in history.positions), default=None)
    report.check("accounts that know their last purchase").expect(account.last_purchase_us == last_us, name)
    waiting = _waiting_returns(history)
    report.check("accounts whose waiting returns are counted").expect(
        waiting == account.waiting_returns, f"{name}: {waiting} wait, {account.waiting_returns} counted"
    )


def _check_vouchers(report: Report, history: AccountHistory, sums: list[EntrySum]) -> None:
    """What was debited for vouchers is what their uses cost (rules 3.10)."""
    name = _name(history)
    for voucher in history.vouchers:
        report.check("vouchers whose posted points are the points due").expect(
            voucher.posted_points == voucher.due_points(),
            f"{name} {voucher.voucher_id}: {voucher.posted_points} posted, {voucher.due_points()} due",
        )
    spent = -sum(row.points for row in sums if row.purchase_id is None and row.kind not in ("expiry", "adjustment"))
    charged = sum(voucher.posted_points for voucher in history.vouchers)
    ordered = sum(product.points for product in history.products)
    report.check("accounts whose debits are their vouchers and products").expect(
        spent == charged + ordered,
        f"{name}: {spent} points debited, {charged} posted for its vouchers, {ordered} for its products",
    )


def _check_adjustments(report: Report, history: AccountHistory, sums: list[EntrySum]) -> None:
    entries = sum(row.points for row in sums if row.kind == "adjustment")
    posted = sum(adjustment.posted_points() for adjustment in history.adjustments)
    report.check("accounts whose adjustments are in their entries").expect(
        entries == posted, f"{_name(history)}: entries {entries}, adjustments {posted}"
    )


def _points_by_year(history: AccountHistory) -> tuple[dict[int, int], dict[int, int]]:
    earned = by_year((position.purchase.occurred_us, position.posted_points) for position in history.positions)
    return (
        total_by_year(earned, credited_by_year(history.adjustments)),
        total_by_year(debited_by_year(history.vouchers, history.products), debited_by_adjustments(history.adjustments)),
    )


def _waiting_returns(history: AccountHistory) -> int:
    bought = {position.purchase.purchase_id for position in history.positions}
    return sum(row.fact.purchase_id not in bought for row in history.returns)


def _note_anomalies(report: Report, programme: Programme, history: AccountHistory) -> None:
    name = _name(history)
    if history.account.waiting_returns:
        report.anomaly("returns that wait for their purchase").add(f"{name}: {history.account.waiting_returns}")
    for voucher in history.vouchers:
        if len(voucher.current_uses()) > 1:
            report.anomaly("vouchers used more than once").add(f"{name} {voucher.voucher_id}")
        if voucher.cancelled_us is not None and voucher.current_uses():
            report.anomaly("vouchers used and cancelled").add(f"{name} {voucher.voucher_id}")
    for position in history.positions:
        purchase = position.purchase
        terms = programme.at(purchase.occurred_us)
        if position.returned_cents > position.eligible_cents:
            report.anomaly("more returned than bought").add(f"{name} {purchase.purchase_id}")
        if earning_cents(purchase.cents_by_class, terms) < 0:
            report.anomaly("negative eligible sum").add(f"{name} {purchase.purchase_id}")
        for unknown in sorted(unknown_classes(purchase.cents_by_class, terms)):
            report.anomaly("product class the terms do not know").add(f"{unknown} in {purchase.purchase_id}")


async def _check_messaging(conn: asyncpg.Connection, report: Report, read_ends: ReadEnds | None) -> None:
    stored = await load_all(conn)
    for progress in stored:
        if progress.paused_reason is not None:
            report.anomaly("paused partitions").add(f"{progress.partition}: {progress.paused_reason}")
    if read_ends is not None:
        ends = await read_ends()
        for progress in stored:
            end = ends.get(progress.partition, 0)
            report.check("partitions whose progress is within the log").expect(
                progress.next_offset <= end,
                f"{progress.partition}: at {progress.next_offset}, the log ends at {end}",
            )
    stuck = await conn.fetchval(f"SELECT count(*) FROM outbox WHERE created_at < now() - interval '{OUTBOX_MAY_WAIT}'")
    report.check("outbox without rows left behind").expect(stuck == 0, f"{stuck} rows are older than {OUTBOX_MAY_WAIT}")
    letters = await conn.fetch(
        "SELECT reason, count(*) AS letters FROM dead_letter WHERE state = 'open' GROUP BY 1 ORDER BY 1"
    )
    for row in letters:
        finding = report.anomaly(f"open dead letters: {row['reason']}")
        finding.count = row["letters"]
