"""What a rebuild compares and repairs here: members, purchases, returns and timelines (docs/architecture.md, 5.8)."""

import asyncio
from collections.abc import Sequence

from eventing.database import Connection
from eventing.rebuild_report import Difference
from eventing.transaction import Transaction
from programme.levels import new_state, timeline_of
from programme.timeline import TimelineChanged

from customer_status.audit.store import History, histories_of
from customer_status.events import timeline_changed
from customer_status.rebuild import store
from customer_status.rebuild.differences import differences, is_stale
from customer_status.rebuild.generations import newer
from customer_status.tiers.purchase_days import PurchaseDays
from customer_status.tiers.store import insert_purchases, insert_returns, lock_members


class MemberSides:
    """Members, by member_id. Erased ones have none and are left out."""

    async def keys_after(self, conn: Connection, key: str, limit: int) -> list[str]:
        """The next members, as bytes sort."""
        return await store.members_after(conn, key, limit)

    async def differences(self, live: Connection, copies: Connection, keys: Sequence[str]) -> list[Difference]:
        """Only members whose rows have another fingerprint are read: nearly always none."""
        mine, right = await asyncio.gather(store.fingerprints(live, keys), store.fingerprints(copies, keys))
        suspects = [key for key in keys if mine.get(key) != right.get(key)]
        if not suspects:
            return []
        kept, due = await histories_of(live, suspects), await histories_of(copies, suspects)
        return [
            Difference(key, cause, detail)
            for key in suspects
            for cause, detail in differences(kept.get(key), due.get(key))
        ]

    async def repair(self, live: Connection, copies: Connection, keys: Sequence[str]) -> None:
        """Put the rows of the copies in the place of those that differ; publish timelines that were wrong.

        Those get a newer `generation`, so that consumers take them whatever version they have. Members whom only the
        log knows stay as they are.
        """
        known = list(await histories_of(live, keys))
        await lock_members(live, known)
        kept, due = await histories_of(live, known), await histories_of(copies, known)
        transaction = Transaction(live)
        for key in kept:  # fewer than were known, if one was erased before the lock was ours
            if any(differences(kept[key], due.get(key))):
                await _replace(live, kept[key], due.get(key))
                if is_stale(kept[key], due.get(key)):
                    await _publish_anew(transaction, kept[key], due.get(key))
        await transaction.flush()


async def _replace(live: Connection, kept: History, due: History | None) -> None:
    number = kept.account_no
    await store.delete_rows(live, number)
    if due is not None:
        for row in due.purchases:
            row.account_no = number
        await insert_purchases(live, due.purchases)
        await insert_returns(live, [row._replace(account_no=number) for row in due.returns])
    joined = [us for us in (kept.joined_us, due and due.joined_us) if us is not None]
    await store.replace_member(
        live,
        number,
        events=due.events if due else 0,
        waiting_returns=due.waiting_returns if due else 0,
        levels=due.levels if due else new_state(),
        purchase_days=due.purchase_days if due else PurchaseDays(),
        joined_us=min(joined, default=None),
    )


async def _publish_anew(transaction: Transaction, kept: History, due: History | None) -> None:
    timeline, generation = timeline_of(due.levels if due else new_state()), newer(kept.generation)
    await store.replace_timeline(transaction.conn, kept.account_no, generation, timeline)
    change = TimelineChanged(kept.member_id or "", generation, due.events if due else 0, timeline)
    transaction.publish(timeline_changed(kept.account_no, change))
