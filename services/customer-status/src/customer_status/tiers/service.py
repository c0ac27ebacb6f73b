"""What the worker does with one batch: lock, read, decide with the pure rules, write plain rows.

No statement is made per event: what comes in one batch costs a handful of statements, however many events it has.
"""

from collections.abc import Collection, Mapping, Sequence

from eventing.database import Connection
from eventing.forgotten import Secret
from eventing.subscription import Decoded
from eventing.transaction import Transaction
from programme.facts import Purchase, Return
from programme.terms import Programme
from programme.timeline import Timeline, TimelineChanged

from customer_status.events import timeline_changed
from customer_status.tiers import store
from customer_status.tiers.domain import Batch, Key, Member, Outcome, changed_timeline, replayed

Fact = Purchase | Return

ERASED = "erased_member"
"""What events of an erased member are counted as."""


class TakePurchases:
    """Handles `kundenclub.purchases`: purchases and returns, in the order of the log."""

    def __init__(self, programme: Programme, secret: Secret) -> None:
        self._programme = programme
        self._secret = secret

    async def __call__(self, transaction: Transaction, events: Sequence[Decoded[Fact]]) -> None:
        """Take the events and publish each timeline they change."""
        conn = transaction.conn
        batch = await self._read(conn, [fact for _, fact in events], in_order=not transaction.starts_over)
        for event, fact in events:
            if fact.member_id not in batch.members:
                transaction.ignore(event, ERASED)
            elif batch.take(fact, event.record.timestamp_us) is Outcome.CONFLICT:
                transaction.dead_letter(event, "conflict", _conflict_detail(fact))
        with transaction.taking_for_new():
            await _write_rows(conn, batch)
        members = batch.changed_members()
        await self._replay(conn, [member for member in members if member.late])
        timelines = _changed_timelines(members)
        await store.update_members(conn, members, timelines)
        for member in members:
            if transaction.publishes and (timeline := timelines.get(member.account_no)) is not None:
                change = TimelineChanged(
                    member.member_id, member.generation, member.events, timeline, member.told_causes(timeline)
                )
                transaction.publish(timeline_changed(member.account_no, change))

    async def _read(self, conn: Connection, facts: Sequence[Fact], *, in_order: bool) -> Batch:
        """With `in_order`, a purchase of a later day than all of its member's is taken for new without a look, as most
        are. One that comes again with a later date, which is a conflict, is stopped by the primary key.
        """
        members = await store.lock_members(conn, {fact.member_id for fact in facts}, self._secret)
        facts = [fact for fact in facts if fact.member_id in members]
        names = {member.account_no: member.member_id for member in members.values()}
        bought = _keys(members, facts, Purchase)
        returned = [(members[fact.member_id].account_no, fact.return_id) for fact in facts if isinstance(fact, Return)]
        first = [fact for fact in facts if in_order and members[fact.member_id].bought_before(fact.occurred_us)]
        looked_for = bought - _keys(members, first, Purchase) | _keys(members, facts, Return)
        known = await store.find_purchases(conn, looked_for, names)
        waited_for = [key for key in bought if key not in known and members[names[key[0]]].waiting_returns]
        return Batch(
            self._programme,
            members,
            known,
            await store.find_returns(conn, set(returned), names),
            await store.find_returns_of(conn, waited_for, names),
        )

    async def _replay(self, conn: Connection, late: Collection[Member]) -> None:
        names = {member.account_no: member.member_id for member in late}
        if not names:
            return
        purchases = await store.read_purchases(conn, names)
        returns = await store.read_returns(conn, names)
        for member in late:
            rows = purchases[member.account_no], returns[member.account_no]
            member.levels = replayed(self._programme, *rows)


def _changed_timelines(members: Collection[Member]) -> dict[int, Timeline]:
    timelines = ((member.account_no, changed_timeline(member)) for member in members)
    return {account_no: timeline for account_no, timeline in timelines if timeline is not None}


def _keys(members: Mapping[str, Member], facts: Sequence[Fact], kind: type[Fact]) -> set[Key]:
    return {(members[fact.member_id].account_no, fact.purchase_id) for fact in facts if isinstance(fact, kind)}


async def _write_rows(conn: Connection, batch: Batch) -> None:
    await store.insert_purchases(conn, batch.new_purchases.values())
    await store.insert_returns(conn, batch.new_returns)
    await store.update_purchases(conn, batch.changed_purchases.values())


def _conflict_detail(fact: Fact) -> str:
    name, key = ("purchase_id", fact.purchase_id) if isinstance(fact, Purchase) else ("return_id", fact.return_id)
    return f"{name} {key} is known with other content"
