"""The real store against a model of a page: any interleaving of events, spending and time gives what the rules say.

The model keeps nothing but what happened, and computes every number anew from the formulas of docs/rules.md; it shares
calendar and terms with the service, and no other code. KUNDENCLUB_EXAMPLES runs more histories than `make test` does.
"""

import asyncio
import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from hashlib import sha256
from typing import Any, ClassVar, NamedTuple

import asyncpg
import msgspec
import pytest
from devstack import ServiceDatabase
from eventing.batches import Batch, Poster, judge
from eventing.database import Session
from eventing.envelope import new_message
from eventing.forgotten import Secret
from eventing.records import Partition, Record
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from loyalty.audit.state import states
from loyalty.audit.verify import verify
from loyalty.errors import (
    InsufficientPoints,
    PurchaseHasVoucher,
    VoucherAlreadyRedeemed,
    VoucherCancelled,
    VoucherExpired,
)
from loyalty.points.account import Account
from loyalty.points.expiry_job import post_due_expiry
from loyalty.points.store import find_account
from loyalty.subscriptions import CUSTOMER_STATUS, PURCHASES, subscriptions
from loyalty.vouchers.codes import parse_keys
from loyalty.vouchers.service import Vouchers
from programme.calendar import boundary_us, civil_day, civil_year, midnight_us
from programme.facts import PURCHASE_COMPLETED, PURCHASE_RETURNED
from programme.instants import format_instant, parse_instant
from programme.terms import Programme
from programme.timeline import CUSTOMER_STATUS_CHANGED
from webapi.problems import Problem

EXAMPLES = int(os.environ.get("KUNDENCLUB_EXAMPLES", "25"))
STEPS = 25
OPEN = math.inf
HOUR_US, DAY_US = 3_600_000_000, 86_400_000_000

MEMBERS = ("M1", "M2")
PURCHASE_IDS = tuple(f"p{n}" for n in range(9))
RETURN_IDS = tuple(f"r{n}" for n in range(20))
BASKET = {"goods": 2000}

END = boundary_us(2100)
"""Later than everything: all that happened counts, and all that ended has."""
Step = tuple[int, str]
BASIS: list[Step] = [(0, "basis")]


class Bought(NamedTuple):
    us: int
    cents: dict[str, int]
    vouchers: frozenset[str]


class GaveBack(NamedTuple):
    us: int
    purchase_id: str
    cents: dict[str, int]
    complete: bool


@dataclass
class ModelVoucher:
    """What the API did with a voucher; what events did is in the purchases that name it."""

    owner: str
    points: int
    issued_us: int
    redeemed: dict[str, int] = field(default_factory=dict)
    cancelled_us: float = OPEN


@dataclass
class Model:
    """All that happened, and the formulas of the rules over it; `t` is the instant up to which events count."""

    programme: Programme
    purchases: dict[tuple[str, str], Bought] = field(default_factory=dict)
    returns: dict[tuple[str, str], GaveBack] = field(default_factory=dict)
    timelines: dict[str, tuple[tuple[int, int], list[Step]]] = field(default_factory=dict)
    vouchers: dict[str, ModelVoucher] = field(default_factory=dict)
    conflicts: int = 0

    def hear(self, known: dict[tuple[str, str], Any], key: tuple[str, str], fact: Bought | GaveBack) -> None:
        """Rules 3.7."""
        self.conflicts += known.setdefault(key, fact) != fact

    def eligible(self, cents: dict[str, int], us: int) -> int:
        """Rules 3.1."""
        return max(0, sum(cents[name] for name in cents if name in self.programme.at(us).earning_classes))

    def remaining(self, member: str, purchase_id: str, t: int) -> int:
        """Rules 3.3."""
        bought = self.purchases[member, purchase_id]
        backs = [r for (m, _), r in self.returns.items() if (m, r.purchase_id) == (member, purchase_id) and r.us <= t]
        if any(back.complete for back in backs):
            return 0
        left = self.eligible(bought.cents, bought.us) - sum(self.eligible(back.cents, bought.us) for back in backs)
        return max(0, left)

    def percent(self, member: str, us: int) -> int:
        """Rules 3.6: the last step whose `after` is strictly earlier."""
        _, steps = self.timelines.get(member, ((0, 0), BASIS))
        level = [name for after, name in steps if after < us][-1]
        return self.programme.at(us).bonus_percent[level]

    def rows(self, member: str, t: int) -> list[tuple[str, int, int, int]]:
        """Of each purchase known: id, remaining cents, percent, civil year."""
        return [
            (number, self.remaining(member, number, t), self.percent(member, bought.us), civil_year(bought.us))
            for (m, number), bought in sorted(self.purchases.items())
            if m == member and bought.us <= t
        ]

    def uses(self, voucher_id: str, t: int) -> dict[str, tuple[int, float]]:
        """Rules 3.10: since when and until when each purchase uses the voucher."""
        voucher, found = self.vouchers[voucher_id], {}
        for number in PURCHASE_IDS:
            named = {m: b for (m, n), b in self.purchases.items() if n == number and voucher_id in b.vouchers}
            naming = {m: b.us for m, b in named.items() if b.us <= t}
            if naming:
                found[number] = (min(naming.values()), max(self.ended(m, number, t) for m in naming))
            elif voucher.redeemed.get(number, OPEN) <= t:
                found[number] = (voucher.redeemed[number], OPEN)
        return found

    def ended(self, member: str, purchase_id: str, t: int) -> float:
        """From when on a purchase is completely returned."""
        backs = [r for (m, _), r in self.returns.items() if (m, r.purchase_id) == (member, purchase_id)]
        first = min((back.us for back in backs if back.complete and back.us <= t), default=OPEN)
        return max(first, self.purchases[member, purchase_id].us)

    def cost(self, voucher_id: str, at: int, t: int) -> int:
        """What a voucher costs its owner, a step function of `at`, by what happened up to `t`."""
        voucher = self.vouchers[voucher_id]
        if voucher.issued_us > t:
            return 0
        uses = sum(since <= at < until for since, until in self.uses(voucher_id, t).values())
        is_cancelled = voucher.cancelled_us <= min(at, t) and not uses
        return voucher.points * ((voucher.issued_us <= at) + max(uses, 1) - 1 - is_cancelled)

    def state(self, member: str, t: int, now_us: int) -> dict[str, Any]:
        """Rules 3.2, 3.8 and 3.9, as `loyalty state` prints them."""
        rows = self.rows(member, t)
        points = [(left * (100 + percent) // 10_000, left // 100, year) for _, left, percent, year in rows]
        own = [voucher_id for voucher_id, voucher in self.vouchers.items() if voucher.owner == member]
        expired = 0
        for boundary in range(2000, civil_year(now_us) + 1):
            expiring = sum(total for total, _, year in points if year + 4 <= boundary)
            debited = sum(self.cost(voucher_id, boundary_us(boundary) - 1, t) for voucher_id in own)
            expired = max(expired, expiring - debited)
        earned, spent = sum(total for total, _, _ in points), sum(self.cost(one, END, t) for one in own)
        text = "".join(f"{number} {left} {percent}\n" for number, left, percent, _ in rows)
        return {
            "member_id": member,
            "balance": earned - spent - expired,
            "earned": earned,
            "bonus": sum(total - base for total, base, _ in points),
            "spent": spent,
            "expired": expired,
            "adjusted": 0,
            "purchases": len(rows),
            "digest": sha256(text.encode()).hexdigest(),
        }

    def refusal(self, voucher_id: str, purchase_id: str, now_us: int) -> type[Problem] | None:
        """Why the API refuses to redeem a voucher for a purchase that has not used it yet."""
        voucher, uses = self.vouchers[voucher_id], self.uses(voucher_id, END)
        if any(until == OPEN for _, until in uses.values()):
            return VoucherAlreadyRedeemed
        if voucher.cancelled_us < OPEN:
            return VoucherCancelled
        ends = [midnight_us(civil_day(int(until)) + 31) for _, until in uses.values()]
        if now_us >= max([boundary_us(civil_year(voucher.issued_us) + 4), *ends]):
            return VoucherExpired
        taken = any(purchase_id in other.redeemed for other in self.vouchers.values())
        return PurchaseHasVoucher if taken else None


class Stage:
    """A worker's hand on a database, and an event loop to run it in between Hypothesis' steps."""

    def __init__(self, database: ServiceDatabase, programme: Programme) -> None:
        self.programme = programme
        self.runner = asyncio.Runner()
        self.subscriptions = {each.topic: each for each in subscriptions(programme, Secret.parse("ee" * 32))}
        self.desk = Vouchers(programme, parse_keys("1:" + "42" * 32))
        self.run = self.runner.run
        self.owner = self.run(asyncpg.connect(database.owner_url))
        self.conn = self.run(asyncpg.connect(database.app_url))
        self.poster = Poster(Session(database.app_url, application_name="test"), self.subscriptions)

    def clear(self) -> None:
        """Forget everything: each history starts with an empty database."""
        tables = "account, purchase_position, purchase_return, ledger_entry, voucher, voucher_redemption"
        tables += ", voucher_undone, voucher_reservation, product_order"
        self.run(self.owner.execute(f"TRUNCATE {tables}, outbox, dead_letter, event_progress"))
        rows = [(topic, 0) for topic in self.subscriptions]
        self.run(self.conn.executemany("INSERT INTO event_progress VALUES ($1, 0, $2)", rows))
        self.poster.believed = {Partition(topic, 0): 0 for topic in self.subscriptions}

    def post(self, topic: str, events: Sequence[tuple[str, dict[str, Any]]], now_us: int) -> None:
        """One batch, stamped with `now_us`."""
        first, items = self.poster.believed[Partition(topic, 0)], []
        for offset, (event_type, data) in enumerate(events, first):
            encoded = json.dumps(data).encode()
            message = new_message(topic, type=event_type, source="urn:test", key=data["member_id"], data=encoded)
            record = Record(topic, 0, offset, now_us, message.key, message.value, message.headers)
            items.append(judge(self.subscriptions[topic], record))
        self.run(self.poster.post(Batch(topic, 0, items)))

    def call(self, work: Callable[[], Any]) -> Any:
        """A request: one transaction, undone when it is refused."""

        async def request() -> Any:
            async with self.conn.transaction():
                return await work()

        return self.run(request())

    def close(self) -> None:
        self.run(self.poster.session.close())
        self.run(self.conn.close())
        self.run(self.owner.close())
        self.runner.close()


START = boundary_us(2027) - HOUR_US
"""An hour before points of 2023 are lost. Few instants, so that events meet each other and the turns of years."""
PAST = (boundary_us(2023) - 1, boundary_us(2023), boundary_us(2026) - 1, START - HOUR_US, START)
FUTURE = (boundary_us(2027), boundary_us(2027) + 40 * DAY_US, boundary_us(2028), boundary_us(2031) - 1)
moments = st.sampled_from(PAST + FUTURE)
amounts = st.sampled_from([0, 99, 2_190, 120_000])
baskets = st.dictionaries(st.sampled_from(["goods", "food", "book", "deposit"]), amounts, max_size=2)
members = st.sampled_from(MEMBERS)
numbers = st.sampled_from(PURCHASE_IDS)
steps = st.lists(st.tuples(moments, st.sampled_from(["basis", "silver", "gold"])), max_size=4)


class Drawn(NamedTuple):
    """An event before it is known which vouchers there are and what time it is; `of` is set for a return."""

    member_id: str
    number: str
    us: int
    cents: dict[str, int]
    of: str | None
    complete: bool
    vouchers: tuple[int, ...]


purchases = st.builds(
    Drawn,
    *(members, numbers, moments, baskets, st.none(), st.just(False)),
    st.sampled_from([(0,), (0,), (1,), (0, 1), ()]),
)
returns = st.builds(
    Drawn,
    *(members, st.sampled_from(RETURN_IDS), moments, baskets, numbers),
    *(st.sampled_from([True, True, False]), st.just(())),
)


class Club(RuleBasedStateMachine):
    """Everything that can happen, in any order, and what must hold after each step."""

    stage: ClassVar[Stage]

    def __init__(self) -> None:
        super().__init__()
        self.stage.clear()
        self.model = Model(self.stage.programme)
        self.now_us = START
        self.log: list[tuple[str, dict[str, Any]]] = []
        self.codes: list[tuple[str, str]] = []

    @initialize(spent=st.sampled_from([1, 2]), is_new_year=st.booleans())
    def begin(self, spent: int, is_new_year: bool) -> None:
        """Two members with 1,000 points of 2023 and 1,000 of now; one has vouchers. Perhaps the first are lost then."""
        for number, us in enumerate((PAST[1], START)):
            self.hear([Drawn(m, f"p{number}", us, {"goods": 100_000}, None, False, ()) for m in MEMBERS], 1)
        for _ in range(spent):
            self.spend(MEMBERS[0])
        self.now_us += 2 * HOUR_US * is_new_year

    @rule(batch=st.lists(purchases | returns, min_size=1, max_size=8), cut=st.integers(1, 8))
    def hear(self, batch: list[Drawn], cut: int) -> None:
        """New events and, as ids are few, some in conflict with earlier ones, in one batch or in several."""
        written = [self.written(drawn) for drawn in batch]
        for first in range(0, len(written), cut):
            self.stage.post(PURCHASES, written[first : first + cut], self.now_us)
        self.log += written

    @precondition(lambda self: self.log)
    @rule(again=st.data())
    def hear_again(self, again: st.DataObject) -> None:
        """Any of the earlier events, months later: what was taken is a repeat, what was refused is so again."""
        event = again.draw(st.sampled_from(self.log))
        self.tell(*event)
        self.stage.post(PURCHASES, [event], self.now_us)

    @rule(member=members, version=st.tuples(st.integers(1, 2), st.integers(0, 9)), drawn=steps)
    def rate(self, member: str, version: tuple[int, int], drawn: list[tuple[int, str]]) -> None:
        """Timelines come in any order; those older than the one that is known change nothing."""
        timeline = list(BASIS)
        for us, level in sorted(dict(drawn).items()):
            if level != timeline[-1][1]:
                timeline.append((us, level))
        if version >= self.model.timelines.get(member, ((0, 0), BASIS))[0]:
            self.model.timelines[member] = (version, timeline)
        told = [{"after": format_instant(us) if us else None, "level": level} for us, level in timeline]
        data = {"member_id": member, "generation": version[0], "events": version[1], "timeline": told}
        self.stage.post(CUSTOMER_STATUS, [(CUSTOMER_STATUS_CHANGED, data)], self.now_us)

    @rule(kind=st.sampled_from([0, 0, 1, 1, 2]), member=members, which=st.integers(0, 2), number=numbers)
    def ask(self, kind: int, member: str, which: int, number: str) -> None:
        """A request over HTTP: spend, redeem or cancel."""
        if kind == 0:
            self.spend(member)
        elif kind == 1:
            self.redeem(*self.codes[which % len(self.codes)], number)
        else:
            self.cancel(self.codes[which % len(self.codes)][1])

    def spend(self, member: str) -> None:
        balance = self.model.state(member, END, self.now_us)["balance"]
        work = partial(self.stage.desk.issue, self.stage.conn, member, "voucher-5", self.now_us)
        if balance < 500:
            with pytest.raises(InsufficientPoints) as refused:
                self.stage.call(work)
            assert refused.value.extensions["balance_points"] == balance
        else:
            issued = self.stage.call(work)
            assert issued.balance_points == balance - 500
            assert self.account(member).balance_points == balance - 500, "spending posts what has expired first"
            self.codes.append((issued.code, issued.voucher.voucher_id))
            self.model.vouchers[issued.voucher.voucher_id] = ModelVoucher(member, 500, self.now_us)

    def redeem(self, code: str, voucher_id: str, number: str) -> None:
        work = partial(self.stage.desk.redeem, self.stage.conn, code, number, BASKET, self.now_us)
        is_known = number in self.model.uses(voucher_id, END)
        refusal = None if is_known else self.model.refusal(voucher_id, number, self.now_us)
        if refusal is not None:
            with pytest.raises(refusal):
                self.stage.call(work)
            return
        self.stage.call(work)
        if not is_known:
            self.model.vouchers[voucher_id].redeemed[number] = self.now_us

    def cancel(self, voucher_id: str) -> None:
        voucher = self.model.vouchers[voucher_id]
        work = partial(self.stage.desk.cancel, self.stage.conn, voucher_id, self.now_us)
        if voucher.cancelled_us == OPEN and self.model.refusal(voucher_id, "", self.now_us) is VoucherAlreadyRedeemed:
            with pytest.raises(VoucherAlreadyRedeemed):
                self.stage.call(work)
            return
        self.stage.call(work)
        voucher.cancelled_us = min(voucher.cancelled_us, self.now_us)

    @rule(to=st.sampled_from([HOUR_US, 40 * DAY_US, 370 * DAY_US, 1500 * DAY_US]), job=st.booleans())
    def time_passes(self, to: int, job: bool) -> None:
        """Over year boundaries; the expiry job runs, and then nothing is left to post, or it is late."""
        self.now_us = min(self.now_us + to, boundary_us(2036))
        last: int | None = 0 if job else None
        while last is not None:
            last = self.stage.run(post_due_expiry(self.stage.conn, self.now_us, last))
        for member in MEMBERS if job else ():
            posted = self.account(member).balance_points
            assert posted == self.model.state(member, END, self.now_us)["balance"]

    @rule(at=moments)
    def look_back(self, at: int) -> None:
        """As of an instant: only what had happened by then, and its expiry."""
        found = {state["member_id"]: state for state in self.printed(at)}
        assert found == {member: self.model.state(member, at, at) for member in found}
        assert {member for member in MEMBERS if self.model.rows(member, at)} <= found.keys()

    @invariant()
    def the_state_is_what_the_rules_say(self) -> None:
        assert self.printed(None) == [self.model.state(m, END, self.now_us) for m in MEMBERS]

    @invariant()
    def balances_and_entries_add_up(self) -> None:
        for member in MEMBERS:
            account = self.account(member)
            assert account.available_points(self.now_us) == self.model.state(member, END, self.now_us)["balance"]
            rows = self.stage.run(self.stage.conn.fetch(ENTRIES, account.account_no))
            assert [row["entry_no"] for row in rows] == list(range(1, len(rows) + 1))
            assert sum(row["points"] for row in rows) == account.balance_points
            for number, left, percent, _ in self.model.rows(member, END):
                posted = sum(row["points"] for row in rows if row["purchase_id"] == number and row["kind"] in EARNS)
                assert posted == left * (100 + percent) // 10_000, number
            for voucher_id, voucher in self.model.vouchers.items():
                paid = -sum(row["points"] for row in rows if row["cause_id"] == voucher_id)
                assert paid == (self.model.cost(voucher_id, END, END) if voucher.owner == member else 0)

    @invariant()
    def verify_is_clean(self) -> None:
        report = self.stage.run(verify(self.stage.conn, self.stage.programme))
        assert report.is_clean, "\n".join(report.lines())
        assert self.stage.run(self.stage.conn.fetchval("SELECT count(*) FROM dead_letter")) == self.model.conflicts

    def account(self, member: str) -> Account:
        account = self.stage.run(find_account(self.stage.conn, member))
        assert account is not None
        return account

    def printed(self, at: int | None) -> list[dict[str, Any]]:
        async def read() -> list[dict[str, Any]]:
            found = states(self.stage.conn, self.stage.programme, at, None, self.now_us)
            return [msgspec.to_builtins(state) async for state in found]

        return self.stage.run(read())

    def written(self, drawn: Drawn) -> tuple[str, dict[str, Any]]:
        """The event as a till sends it, and the model hears of it."""
        lines = [{"product_class": name, "amount_cents": cents} for name, cents in drawn.cents.items()]
        data: dict[str, Any] = {"member_id": drawn.member_id, "currency": "EUR", "lines": lines}
        data["occurred_at"] = format_instant(min(drawn.us, self.now_us))
        if drawn.of is None:
            ids = [voucher_id for _, voucher_id in self.codes]
            chosen = [ids[n % len(ids)] for n in drawn.vouchers if ids]
            event = PURCHASE_COMPLETED, data | {"purchase_id": drawn.number, "vouchers": chosen}
        else:
            extra = {"return_id": drawn.number, "purchase_id": drawn.of, "complete": drawn.complete or not lines}
            event = PURCHASE_RETURNED, data | extra
        self.tell(*event)
        return event

    def tell(self, event_type: str, data: dict[str, Any]) -> None:
        us = parse_instant(data["occurred_at"])
        cents = {line["product_class"]: line["amount_cents"] for line in data["lines"] if line["amount_cents"]}
        if event_type == PURCHASE_COMPLETED:
            bought = Bought(us, cents, frozenset(data["vouchers"]))
            self.model.hear(self.model.purchases, (data["member_id"], data["purchase_id"]), bought)
        else:
            back = GaveBack(us, data["purchase_id"], cents, data["complete"])
            self.model.hear(self.model.returns, (data["member_id"], data["return_id"]), back)


ENTRIES = "SELECT * FROM ledger_entry WHERE account_no = $1 ORDER BY entry_no"
EARNS = ("purchase", "return", "level")


@pytest.fixture
def stage(database: ServiceDatabase, programme: Programme) -> Iterator[Stage]:
    """A stage whose programme changes its numbers once."""
    second = msgspec.structs.replace(
        programme.terms[0],
        valid_from=date(2025, 1, 1),
        earning_classes=frozenset({"goods", "book"}),
        other_classes=frozenset({"food", "deposit"}),
        bonus_percent={"basis": 0, "silver": 15, "gold": 33},
    )
    Club.stage = Stage(database, Programme((programme.terms[0], second)))
    yield Club.stage
    Club.stage.close()


def test_any_interleaving_gives_what_the_model_says(stage: Stage) -> None:
    """A failure prints the steps that lead to it, and the blob that repeats it."""
    run_state_machine_as_test(
        Club,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
