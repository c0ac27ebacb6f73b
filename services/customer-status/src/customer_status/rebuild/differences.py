"""How a member's live rows differ from those that the log makes; pure."""

from collections.abc import Iterator

from eventing.rebuild_report import Found, compare_rows
from programme.levels import new_state, timeline_of
from programme.timeline import BASIS, Timeline

from customer_status.audit.store import History
from customer_status.tiers.domain import PurchaseRow, ReturnRow
from customer_status.tiers.purchase_days import PurchaseDays

PURCHASE_SUMS = (
    "eligible_cents",
    "returned_cents",
    "returned_completely",
    "day",
    "total_cents",
    "returned_total_cents",
)
ONLY_IN_THE_LOG = "known to the log only: erased, or its row is lost"


def differences(live: History | None, right: History | None) -> Iterator[Found]:
    """Causes and details. A member who is not in the log is one of whom nothing was ever heard."""
    if live is None:
        yield ONLY_IN_THE_LOG, ""
        return
    right = right or _nobody()
    yield from compare_rows("purchase", _purchases(live), _purchases(right), _purchase)
    yield from compare_rows("return", _returns(live), _returns(right), _return)
    due = timeline_of(right.levels)
    if timeline_of(live.levels) != due:
        yield "wrong levels", ""
    if live.published != due:
        yield "wrong timeline", f"published {_text(live.published)}, due {_text(due)}"
    if live.events != right.events:
        yield "wrong number of events", f"{live.events}, in the log {right.events}"
    if live.waiting_returns != right.waiting_returns:
        yield "wrong number of waiting returns", f"{live.waiting_returns}, in the log {right.waiting_returns}"
    if (live.purchase_days, live.purchase_months) != (right.purchase_days, right.purchase_months):
        yield "wrong purchase days", ""
    if right.joined_us is not None and (live.joined_us is None or live.joined_us > right.joined_us):
        yield "wrong date of joining", ""


def is_stale(live: History, right: History | None) -> bool:
    """Whether consumers may have been told wrong: another timeline, or a version made of a wrong count."""
    right = right or _nobody()
    return live.published != timeline_of(right.levels) or live.events != right.events


def _purchase(purchase_id: str, live: PurchaseRow, right: PurchaseRow) -> Iterator[Found]:
    if (live.fact, live.received_us) != (right.fact, right.received_us):
        yield "purchase with other content", purchase_id
        return
    for name in PURCHASE_SUMS:
        kept, due = getattr(live, name), getattr(right, name)
        if kept != due:
            yield "wrong sum", f"{purchase_id} {name} {kept}, due {due}"


def _return(return_id: str, live: ReturnRow, right: ReturnRow) -> Iterator[Found]:
    if (live.fact, live.received_us) != (right.fact, right.received_us):
        yield "return with other content", return_id
    elif live != right._replace(account_no=live.account_no):
        yield "wrong sum", return_id


def _purchases(history: History) -> dict[str, PurchaseRow]:
    return {row.fact.purchase_id: row for row in history.purchases}


def _returns(history: History) -> dict[str, ReturnRow]:
    return {row.fact.return_id: row for row in history.returns}


def _text(timeline: Timeline) -> str:
    return " > ".join(step.level for step in timeline)


def _nobody() -> History:
    return History(0, None, None, 0, 0, 1, new_state(), BASIS, [], [], PurchaseDays(), [])
