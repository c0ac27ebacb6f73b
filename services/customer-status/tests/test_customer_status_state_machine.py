"""The real store against the words of the rules: any interleaving of purchases, returns and time gives the same levels.

The model keeps nothing but what was accepted and computes every number anew from docs/rules.md 3.3 to 3.7; it shares
calendar and terms with the service, and no other code. KUNDENCLUB_EXAMPLES runs more histories than `make test` does.
"""

import asyncio
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from hashlib import sha256
from typing import Any, ClassVar, NamedTuple

import asyncpg
import msgspec
import pytest
from customer_status.audit.state import states
from customer_status.audit.verify import verify
from customer_status.events import MEMBER_JOINED, MEMBERS_TOPIC, PURCHASES_TOPIC
from customer_status.subscriptions import subscriptions
from devstack import ServiceDatabase
from eventing.batches import Batch, Poster, judge
from eventing.database import Session
from eventing.envelope import new_message
from eventing.forgotten import Secret
from eventing.outbox import unpack
from eventing.records import Partition, Record
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from programme.calendar import anniversary_day, civil_day, midnight_us
from programme.facts import PURCHASE_COMPLETED, PURCHASE_RETURNED
from programme.instants import format_instant, parse_instant
from programme.terms import Programme

EXAMPLES = int(os.environ.get("KUNDENCLUB_EXAMPLES", "20"))
STEPS = 20
MEMBERS = ("M1", "M2")
STAMP_US = parse_instant("2099-12-31T00:00:00Z")
END = parse_instant("2090-01-01T00:00:00Z")
LEAP_DAY = parse_instant("2024-02-29T11:00:00Z")
LIVE_UNTIL = midnight_us(anniversary_day(civil_day(LEAP_DAY)))
SECOND_TERMS = date(2025, 1, 1)
TURN = midnight_us(civil_day(parse_instant("2025-01-01T12:00:00Z")))
MOMENTS = (
    LEAP_DAY,
    LEAP_DAY,
    LEAP_DAY + 1,
    TURN - 1,
    TURN,
    LIVE_UNTIL - 1,
    LIVE_UNTIL,
    LIVE_UNTIL + 1,
    LIVE_UNTIL + 10**12,
)
NOWS = (LEAP_DAY, TURN, LIVE_UNTIL, LIVE_UNTIL + 1, LIVE_UNTIL + 10**12, LIVE_UNTIL + 4 * 10**13)
Step = tuple[int | None, str]


class Bought(NamedTuple):
    us: int
    cents: dict[str, int]


class GaveBack(NamedTuple):
    us: int
    purchase_id: str
    cents: dict[str, int]
    complete: bool


class History:
    """What one member did, up to an instant, and rules 3.3 to 3.6 over it."""

    def __init__(self, programme: Programme, bought: dict[str, Bought], back: list[GaveBack]) -> None:
        self.programme, self.bought = programme, bought
        self.back = [each for each in back if each.purchase_id in bought]
        self.percent: dict[str, int] = {}
        for number in sorted(bought, key=lambda number: bought[number].us):
            us = bought[number].us
            self.percent[number] = programme.at(us).bonus_percent[self.level(us)]

    def eligible(self, cents: dict[str, int], us: int) -> int:
        classes = self.programme.at(us).earning_classes
        return max(0, sum(amount for name, amount in cents.items() if name in classes))

    def effective(self, back: GaveBack) -> int:
        return max(back.us, self.bought[back.purchase_id].us)

    def left(self, number: str, t: int) -> int:
        """Cents that remain by the returns in effect before t."""
        us = self.bought[number].us
        backs = [each for each in self.back if each.purchase_id == number and self.effective(each) < t]
        if any(each.complete for each in backs):
            return 0
        return max(0, self.eligible(self.bought[number].cents, us) - sum(self.eligible(b.cents, us) for b in backs))

    def points(self, number: str, t: int) -> int:
        percent = self.percent.get(number, 0) if self.programme.at(self.bought[number].us).count_bonus else 0
        return self.left(number, t) * (100 + percent) // 10_000

    def valid_until(self, us: int) -> int:
        return midnight_us(anniversary_day(civil_day(us)))

    def collected(self, t: int, s: int) -> int:
        live = [number for number, each in self.bought.items() if each.us <= s <= self.valid_until(each.us)]
        return sum(self.points(number, t) for number in live)

    def level(self, t: int) -> str:
        held = "basis"
        for level in ("silver", "gold"):
            for number, each in self.bought.items():
                holds = each.us < t <= self.valid_until(each.us) and self.points(number, t) > 0
                if holds and self.collected(t, each.us) >= self.programme.at(each.us).thresholds[level]:
                    held = level
        return held

    def timeline(self) -> list[Step]:
        instants = {each.us for each in self.bought.values()} | {self.effective(each) for each in self.back}
        instants |= {self.valid_until(each.us) for each in self.bought.values()}
        steps: list[Step] = [(None, "basis")]
        for us in sorted(instants):
            if (level := self.level(us + 1)) != steps[-1][1]:
                steps.append((us, level))
        return steps

    def digest(self) -> str:
        lines = [f"{number} {self.left(number, END)} {self.percent[number]}\n" for number in sorted(self.bought)]
        return sha256("".join(lines).encode()).hexdigest()


@dataclass
class Model:
    """What was accepted, in whatever order it came."""

    programme: Programme
    bought: dict[tuple[str, str], Bought] = field(default_factory=dict)
    back: dict[tuple[str, str], GaveBack] = field(default_factory=dict)
    named: set[str] = field(default_factory=set)
    joined: dict[str, int] = field(default_factory=dict)
    conflicts: int = 0

    def hear(self, known: dict[tuple[str, str], Any], key: tuple[str, str], fact: Bought | GaveBack) -> None:
        """Rules 3.7."""
        self.named.add(key[0])
        self.conflicts += known.setdefault(key, fact) != fact

    def events(self, member: str) -> int:
        return sum(m == member for m, _ in [*self.bought, *self.back])

    def waiting(self, member: str) -> int:
        return sum(m == member and (m, back.purchase_id) not in self.bought for (m, _), back in self.back.items())

    def history(self, member: str, until: int) -> History:
        bought = {number: each for (m, number), each in self.bought.items() if m == member and each.us <= until}
        return History(
            self.programme, bought, [each for (m, _), each in self.back.items() if m == member and each.us <= until]
        )

    def state(self, member: str, until: int, level_at: int) -> dict[str, Any]:
        history = self.history(member, until)
        steps = [{"after": us and format_instant(us), "level": level} for us, level in history.timeline()]
        return {
            "member_id": member,
            "level": history.level(level_at),
            "timeline": steps,
            "purchases": len(history.bought),
            "digest": history.digest(),
        }


class Stage:
    """A worker's hand on a database, and an event loop to run it in between Hypothesis' steps."""

    def __init__(self, database: ServiceDatabase, programme: Programme) -> None:
        self.programme = programme
        self.runner = asyncio.Runner()
        self.run = self.runner.run
        self.subscriptions = {each.topic: each for each in subscriptions(programme, Secret.parse("ee" * 32))}
        self.owner = self.run(asyncpg.connect(database.owner_url))
        self.conn = self.run(asyncpg.connect(database.app_url))
        self.poster = Poster(Session(database.app_url, application_name="test"), self.subscriptions)

    def clear(self) -> None:
        """Forget everything: each history starts with an empty database."""
        self.run(self.owner.execute("TRUNCATE member, purchase, purchase_return, outbox, dead_letter, event_progress"))
        rows = [(topic, 0) for topic in self.subscriptions]
        self.run(self.conn.executemany("INSERT INTO event_progress VALUES ($1, 0, $2)", rows))
        self.poster.believed = {Partition(topic, 0): 0 for topic in self.subscriptions}

    def post(self, topic: str, events: Sequence[tuple[str, dict[str, Any]]]) -> list[dict[str, Any]]:
        """One batch; returns the timelines it published."""
        first, items = self.poster.believed[Partition(topic, 0)], []
        for offset, (event_type, data) in enumerate(events, first):
            encoded = json.dumps(data).encode()
            message = new_message(topic, type=event_type, source="urn:test", key=data["member_id"], data=encoded)
            record = Record(topic, 0, offset, STAMP_US, message.key, message.value, message.headers)
            items.append(judge(self.subscriptions[topic], record))
        self.run(self.poster.post(Batch(topic, 0, items)))
        rows = self.run(self.conn.fetch("DELETE FROM outbox RETURNING messages"))
        return [json.loads(message.value or b"") for row in rows for message in unpack(row["messages"])]

    def close(self) -> None:
        self.run(self.poster.session.close())
        self.run(self.conn.close())
        self.run(self.owner.close())
        self.runner.close()


class Drawn(NamedTuple):
    """An event; `of` is set for a return."""

    member_id: str
    number: str
    us: int
    cents: dict[str, int]
    of: str | None
    complete: bool


numbers = st.sampled_from([f"p{n}" for n in range(7)])
moments, members = st.sampled_from(MOMENTS), st.sampled_from(MEMBERS)
amounts = st.sampled_from([0, 99, 40_000, 99_900, 100_000, 250_000])
baskets = st.dictionaries(st.sampled_from(["goods", "food", "book"]), amounts, max_size=2)
purchases = st.builds(Drawn, members, numbers, moments, baskets, st.none(), st.just(False))
return_numbers = st.sampled_from([f"r{n}" for n in range(9)])
returns = st.builds(Drawn, members, return_numbers, moments, baskets, numbers, st.booleans())


class Club(RuleBasedStateMachine):
    """Everything that can happen, in any order, and what must hold after each step."""

    stage: ClassVar[Stage]

    def __init__(self) -> None:
        super().__init__()
        self.stage.clear()
        self.model = Model(self.stage.programme)
        self.now_us = LEAP_DAY
        self.log: list[tuple[str, dict[str, Any]]] = []
        self.published: dict[str, list[dict[str, Any]]] = {}

    @rule(batch=st.lists(purchases | returns, min_size=1, max_size=8), cut=st.integers(1, 8))
    def hear(self, batch: list[Drawn], cut: int) -> None:
        """New events and, as ids are few, repeats and conflicts, in one batch or in several."""
        for first in range(0, len(batch), cut):
            self.take([self.written(drawn) for drawn in batch[first : first + cut]])

    @precondition(lambda self: self.model.bought)
    @rule(data=st.data(), number=return_numbers, us=moments)
    def give_back(self, data: st.DataObject, number: str, us: int) -> None:
        """Some of the goods of a purchase that is known: drawn apart, the two seldom meet under other terms."""
        member, of = data.draw(st.sampled_from(sorted(self.model.bought)))
        cents = {name: data.draw(amounts) for name in self.model.bought[member, of].cents}
        self.take([self.written(Drawn(member, number, us, cents, of, False))])

    @precondition(lambda self: self.log)
    @rule(again=st.data())
    def hear_again(self, again: st.DataObject) -> None:
        """Any of the earlier events: what was taken is a repeat, what was refused is so again."""
        self.take([again.draw(st.sampled_from(self.log))])

    @rule(member=members, us=moments)
    def join(self, member: str, us: int) -> None:
        """Before the first purchase, after it, or again."""
        data = {"member_id": member, "joined_at": format_instant(us)}
        assert self.stage.post(MEMBERS_TOPIC, [(MEMBER_JOINED, data)]) == []
        self.model.joined[member] = min(us, self.model.joined.get(member, us))
        self.model.named.add(member)

    @rule(now=st.sampled_from(NOWS))
    def look(self, now: int) -> None:
        """Time passes, or an operator looks at another instant: levels lapse by themselves."""
        self.now_us = now

    @rule(at=moments)
    def look_back(self, at: int) -> None:
        """As of an instant: only what had happened by then."""
        found = {state["member_id"]: state for state in self.printed(at)}
        assert found == {member: self.model.state(member, at, at) for member in found}
        happened = {m for (m, _), each in self.model.bought.items() if each.us <= at}
        happened |= {m for (m, _), each in self.model.back.items() if each.us <= at}
        assert found.keys() == happened | {m for m, us in self.model.joined.items() if us <= at}

    @invariant()
    def the_state_is_what_the_rules_say(self) -> None:
        named = sorted(self.model.named)
        assert self.printed(None) == [self.model.state(member, END, self.now_us) for member in named]

    @invariant()
    def rows_count_what_was_taken(self) -> None:
        query = "SELECT member_id, generation, events, waiting_returns FROM member ORDER BY member_id"
        found = [tuple(row) for row in self.stage.run(self.stage.conn.fetch(query))]
        named = sorted(self.model.named)
        assert found == [(member, 1, self.model.events(member), self.model.waiting(member)) for member in named]

    @invariant()
    def verify_is_clean(self) -> None:
        report = self.stage.run(verify(self.stage.conn, self.stage.programme, None))
        assert report.is_clean, "\n".join(report.lines())
        assert self.stage.run(self.stage.conn.fetchval("SELECT count(*) FROM dead_letter")) == self.model.conflicts

    def take(self, events: list[tuple[str, dict[str, Any]]]) -> None:
        """One batch: it publishes each timeline it moved, once, with the version that it has then."""
        for event in events:
            self.tell(*event)
        self.log += events
        published = self.stage.post(PURCHASES_TOPIC, events)
        told = {each["member_id"]: each for each in published}
        assert len(told) == len(published), "one timeline a member and batch"
        for member in MEMBERS:
            timeline = self.model.state(member, END, END)["timeline"]
            if timeline == self.published.get(member, [{"after": None, "level": "basis"}]):
                assert member not in told
                continue
            self.published[member] = timeline
            expected = {"generation": 1, "events": self.model.events(member), "timeline": timeline}
            assert {name: told[member][name] for name in expected} == expected

    def printed(self, at: int | None) -> list[dict[str, Any]]:
        async def read() -> list[dict[str, Any]]:
            found = states(self.stage.conn, self.stage.programme, at, None, self.now_us)
            return [msgspec.to_builtins(state) async for state in found]

        return self.stage.run(read())

    def written(self, drawn: Drawn) -> tuple[str, dict[str, Any]]:
        """The event as a till sends it."""
        lines = [{"product_class": name, "amount_cents": cents} for name, cents in drawn.cents.items()]
        data = {"member_id": drawn.member_id, "occurred_at": format_instant(drawn.us), "lines": lines}
        if drawn.of is None:
            return PURCHASE_COMPLETED, data | {"purchase_id": drawn.number, "currency": "EUR"}
        extra = {"return_id": drawn.number, "purchase_id": drawn.of, "complete": drawn.complete or not lines}
        return PURCHASE_RETURNED, data | extra

    def tell(self, event_type: str, data: dict[str, Any]) -> None:
        """The model hears of an event."""
        member, us = data["member_id"], parse_instant(data["occurred_at"])
        cents = {line["product_class"]: line["amount_cents"] for line in data["lines"] if line["amount_cents"]}
        if event_type == PURCHASE_COMPLETED:
            self.model.hear(self.model.bought, (member, data["purchase_id"]), Bought(us, cents))
        else:
            back = GaveBack(us, data["purchase_id"], cents, data["complete"])
            self.model.hear(self.model.back, (member, data["return_id"]), back)


@pytest.fixture
def stage(database: ServiceDatabase, programme: Programme) -> Iterator[Stage]:
    """A stage whose programme changes its numbers once."""
    second = msgspec.structs.replace(
        programme.terms[0],
        valid_from=SECOND_TERMS,
        earning_classes=frozenset({"goods", "book"}),
        other_classes=frozenset({"food"}),
        bonus_percent={"basis": 0, "silver": 15, "gold": 33},
    )
    Club.stage = Stage(database, Programme((programme.terms[0], second)))
    yield Club.stage
    Club.stage.close()


def test_any_interleaving_gives_what_the_rules_say(stage: Stage) -> None:
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


@pytest.mark.parametrize("returned_first", [False, True])
@pytest.mark.parametrize(("name", "goods_cents"), [("food", 99_900), ("book", 100_000)])
def test_a_return_is_judged_by_the_terms_of_its_purchase(
    stage: Stage, name: str, goods_cents: int, returned_first: bool
) -> None:
    """Food earns by the first terms only, books by the second only: one ends Silver, the other does not. Chance seldom
    brings back one of them so late.
    """
    bought = Drawn("M1", "p0", LEAP_DAY, {"goods": goods_cents, name: 40_000}, None, False)
    gave_back = Drawn("M1", "r0", TURN, {name: 40_000}, "p0", False)
    club = Club()
    for drawn in (gave_back, bought) if returned_first else (bought, gave_back):
        club.hear([drawn], 1)
        club.the_state_is_what_the_rules_say()
        club.rows_count_what_was_taken()
        club.verify_is_clean()
