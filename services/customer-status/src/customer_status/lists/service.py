"""Lists of members: so many are examined at a time, so that a filter that fits few costs no more than another."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date

from eventing.database import Connection
from programme.calendar import midnight_us
from programme.lifecycle import standing_on
from programme.terms import Programme

from customer_status.lists import store
from customer_status.lists.domain import Listed, Wanted
from customer_status.segments.domain import Bounds, bounds_on

EXAMINED_AT_ONCE = 2_000


@dataclass(frozen=True)
class MemberList:
    """The list as of the end of `day`, with the classes of `snapshot`; None: without classes."""

    programme: Programme
    wanted: Wanted
    day: int
    snapshot: date | None

    async def page(self, conn: Connection, after: str, limit: int) -> tuple[list[Listed], str | None]:
        """At most `limit` members after one, and the member_id after which the list goes on; None at its end.

        Examines a bounded number of members: a page may have fewer than `limit`, even none, and not be the last one.
        """
        bounds = bounds_on(self.programme, self.day)
        examined = await store.members_after(conn, after, EXAMINED_AT_ONCE, bounds, self.snapshot)
        found = [member for member in await self._judge(conn, bounds, examined) if self.wanted.holds(member)]
        if len(found) > limit:
            return found[:limit], found[limit - 1].member_id
        return found, examined[-1].member_id if len(examined) == EXAMINED_AT_ONCE else None

    async def pages(self, conn: Connection) -> AsyncIterator[list[Listed]]:
        """All of it."""
        after: str | None = ""
        while after is not None:
            found, after = await self.page(conn, after, EXAMINED_AT_ONCE)
            yield found

    async def _judge(self, conn: Connection, bounds: Bounds, examined: list[store.Examined]) -> list[Listed]:
        """Those known by then; of members at another level than wanted no purchase is read."""
        members = [each for each in examined if each.is_known and self.wanted.level in (None, each.level)]
        days = await store.purchase_days(conn, [each.account_no for each in members], bounds)
        numbers = self.programme.at(midnight_us(self.day)).lifecycle
        return [
            Listed(
                each.member_id,
                each.level,
                standing_on(numbers, days.get(each.account_no, []), self.day),
                each.abc,
                each.contact_person,
            )
            for each in members
        ]
