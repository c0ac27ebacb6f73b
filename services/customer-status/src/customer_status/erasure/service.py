"""Members who join and members who are erased, in any order with each other and with purchases (rules 3.14)."""

from collections.abc import Collection, Mapping, Sequence
from functools import partial

from eventing import dead_letters
from eventing.database import Connection
from eventing.forgotten import Secret, forget
from eventing.subscription import Decoded
from eventing.transaction import Transaction
from programme.facts import may_name_member

from customer_status.consents import store as consents
from customer_status.contacts import store as contacts
from customer_status.erasure.store import forget_answers
from customer_status.events import MemberErased, MemberJoined, timeline_gone
from customer_status.key_accounts import store as key_accounts
from customer_status.offers import store as offers
from customer_status.tiers import store
from customer_status.tiers.service import ERASED


async def forget_everything(conn: Connection, account_nos: Collection[int], at_us: int) -> None:
    """Delete what features keep of members who are erased at `at_us`, beside their purchases, which stay nameless.

    The one place for it: it runs in the erasure's transaction, under the members' locks, while they still have names.
    """
    await offers.forget(conn, account_nos, at_us)
    await key_accounts.forget(conn, account_nos)
    await consents.forget(conn, account_nos)
    await contacts.forget(conn, account_nos)


class TakeMembers:
    """Handles `kundenclub.members`: makes the rows of members who joined, and cuts the links of those erased."""

    def __init__(self, secret: Secret) -> None:
        self._secret = secret

    async def __call__(self, transaction: Transaction, events: Sequence[Decoded[MemberJoined | MemberErased]]) -> None:
        """Whoever was erased stays erased, whatever comes before or after in the log."""
        members = await store.lock_members(transaction.conn, {value.member_id for _, value in events}, self._secret)
        accounts = {member_id: member.account_no for member_id, member in members.items()}
        erased = {value.member_id: value.erased_us for _, value in events if isinstance(value, MemberErased)}
        joined_us: dict[int, int] = {}
        for event, value in events:
            account_no = accounts.get(value.member_id)
            if account_no is None:
                transaction.ignore(event, ERASED)
            elif isinstance(value, MemberJoined) and value.member_id not in erased:
                joined_us[account_no] = min(value.joined_us, joined_us.get(account_no, value.joined_us))
        await store.join_members(transaction.conn, joined_us)
        leaving = {member_id: accounts[member_id] for member_id in sorted(erased.keys() & accounts.keys())}
        if leaving:
            await self._erase(transaction, leaving, max(erased.values()))

    async def _erase(self, transaction: Transaction, leaving: Mapping[str, int], at_us: int) -> None:
        conn = transaction.conn
        await forget(conn, self._secret, list(leaving))
        await forget_everything(conn, list(leaving.values()), at_us)
        await store.cut_links(conn, leaving.values())
        await forget_answers(conn, list(leaving))
        for member_id in leaving:
            await dead_letters.delete_about(conn, member_id, partial(may_name_member, member_id=member_id))
            transaction.publish(timeline_gone(member_id))
