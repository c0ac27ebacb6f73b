"""The real store against a model of a page: any interleaving of events, spending and time gives what the rules say.

The model is support/club_model.py. KUNDENCLUB_EXAMPLES runs more histories than `make test` does.
"""

import asyncio
import json
import os
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from functools import partial
from typing import Any, ClassVar, NamedTuple

import asyncpg
import msgspec
import pytest
from club_model import BASIS, END, OPEN, PURCHASE_IDS, Bought, GaveBack, Model, ModelVoucher
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
from loyalty.errors import InsufficientPoints, RedemptionIsFinal, VoucherAlreadyRedeemed
from loyalty.points.account import Account
from loyalty.points.expiry_job import post_due_expiry
from loyalty.points.store import find_account
from loyalty.rewards.service import spend
from loyalty.subscriptions import CUSTOMER_STATUS, PURCHASES, subscriptions
from loyalty.vouchers.codes import parse_keys
from loyalty.vouchers.service import Issued, Vouchers
from programme.calendar import boundary_us
from programme.facts import PURCHASE_COMPLETED, PURCHASE_RETURNED
from programme.instants import format_instant, parse_instant
from programme.terms import Programme, Reward
from programme.timeline import CUSTOMER_STATUS_CHANGED

EXAMPLES = int(os.environ.get("KUNDENCLUB_EXAMPLES", "25"))
STEPS = 25
MINUTE_US, HOUR_US, DAY_US = 60_000_000, 3_600_000_000, 86_400_000_000
ASKED = ("spend", "order", "reserve", "reserve", "release", "redeem", "redeem", "undo", "undo", "cancel")

MEMBERS = ("M1", "M2")
RETURN_IDS = tuple(f"r{n}" for n in range(20))
BASKET = {"goods": 2000}


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

    @rule(kind=st.sampled_from(ASKED), member=members, which=st.integers(0, 2), number=numbers)
    def ask(self, kind: str, member: str, which: int, number: str) -> None:
        """A request over HTTP."""
        code, voucher_id = self.codes[which % len(self.codes)]
        match kind:
            case "spend":
                self.spend(member)
            case "order":
                self.order(member)
            case "reserve":
                self.reserve(code, voucher_id, number)
            case "release":
                self.release(code, voucher_id, number)
            case "redeem":
                self.redeem(code, voucher_id, number)
            case "undo":
                self.undo(code, voucher_id, number)
            case "cancel":
                self.cancel(voucher_id)

    def spend(self, member: str) -> None:
        balance = self.model.state(member, END, self.now_us)["balance"]
        stage = self.stage
        work = partial(spend, stage.conn, stage.programme, stage.desk, member, "voucher-5", self.now_us)
        if balance < 500:
            with pytest.raises(InsufficientPoints) as refused:
                self.stage.call(work)
            assert refused.value.extensions["balance_points"] == balance
        else:
            issued = self.stage.call(work)
            assert isinstance(issued, Issued)
            assert issued.balance_points == balance - 500
            assert self.account(member).balance_points == balance - 500, "spending posts what has expired first"
            self.codes.append((issued.code, issued.voucher.voucher_id))
            self.model.vouchers[issued.voucher.voucher_id] = ModelVoucher(member, 500, self.now_us)

    def order(self, member: str) -> None:
        balance = self.model.state(member, END, self.now_us)["balance"]
        stage = self.stage
        work = partial(spend, stage.conn, stage.programme, stage.desk, member, "mug", self.now_us)
        if balance < 300:
            with pytest.raises(InsufficientPoints):
                stage.call(work)
        else:
            assert stage.call(work).balance_points == balance - 300
            self.model.products.append((member, 300, self.now_us))

    def reserve(self, code: str, voucher_id: str, number: str) -> None:
        work = partial(self.stage.desk.reserve, self.stage.conn, code, number, BASKET, self.now_us)
        refusal = self.model.refusal(voucher_id, number, self.now_us)
        if refusal is not None:
            with pytest.raises(refusal):
                self.stage.call(work)
            return
        until_us = min(self.now_us + 15 * MINUTE_US, self.model.end(voucher_id))
        assert self.stage.call(work).reservation == (number, until_us)
        self.model.vouchers[voucher_id].held = (number, until_us)

    def release(self, code: str, voucher_id: str, number: str) -> None:
        self.stage.call(partial(self.stage.desk.release, self.stage.conn, code, number, self.now_us))
        voucher = self.model.vouchers[voucher_id]
        if voucher.held[0] == number:
            voucher.held = ("", 0)

    def undo(self, code: str, voucher_id: str, number: str) -> None:
        work = partial(self.stage.desk.undo, self.stage.conn, code, number, self.now_us)
        if self.model.is_named(voucher_id, number):
            with pytest.raises(RedemptionIsFinal):
                self.stage.call(work)
            return
        self.stage.call(work)
        voucher = self.model.vouchers[voucher_id]
        if number in voucher.redeemed:
            voucher.undone.append((number, voucher.redeemed.pop(number), self.now_us))

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
            voucher = self.model.vouchers[voucher_id]
            voucher.redeemed[number], voucher.held = self.now_us, ("", 0)

    def cancel(self, voucher_id: str) -> None:
        voucher = self.model.vouchers[voucher_id]
        work = partial(self.stage.desk.cancel, self.stage.conn, voucher_id, self.now_us)
        if voucher.cancelled_us == OPEN and self.model.refusal(voucher_id, "", self.now_us) is VoucherAlreadyRedeemed:
            with pytest.raises(VoucherAlreadyRedeemed):
                self.stage.call(work)
            return
        self.stage.call(work)
        if voucher.cancelled_us == OPEN:
            voucher.cancelled_us, voucher.held = self.now_us, ("", 0)

    @rule(to=st.sampled_from([10 * MINUTE_US, HOUR_US, 40 * DAY_US, 370 * DAY_US, 1500 * DAY_US]), job=st.booleans())
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
    mug = Reward(points=300, kind="product", name="Mug", sku="770021")
    first = msgspec.structs.replace(programme.terms[0], rewards={**programme.terms[0].rewards, "mug": mug})
    second = msgspec.structs.replace(
        first,
        valid_from=date(2025, 1, 1),
        earning_classes=frozenset({"goods", "book"}),
        other_classes=frozenset({"food", "deposit"}),
        bonus_percent={"basis": 0, "silver": 15, "gold": 33},
    )
    Club.stage = Stage(database, Programme((first, second)))
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
