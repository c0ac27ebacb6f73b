"""Which members a list holds; pure."""

from dataclasses import dataclass
from typing import NamedTuple

from programme.lifecycle import Standing


class Listed(NamedTuple):
    """A member in a list. `abc` is that of the snapshot the list was asked with, `contact_person` a name."""

    member_id: str
    level: str
    standing: Standing
    abc: str | None
    contact_person: str | None


@dataclass(frozen=True)
class Wanted:
    """What a list is filtered by; None: whatever it is. Flags and `contact_person` are whether there is one."""

    level: str | None = None
    lifecycle: str | None = None
    abc: str | None = None
    at_risk: bool | None = None
    reactivated: bool | None = None
    contact_person: bool | None = None

    def holds(self, member: Listed) -> bool:
        """Whether the list has this member."""
        status, at_risk_since, reactivated_day = member.standing
        return (
            self.level in (None, member.level)
            and self.lifecycle in (None, status)
            and self.abc in (None, member.abc)
            and self.at_risk in (None, at_risk_since is not None)
            and self.reactivated in (None, reactivated_day is not None)
            and self.contact_person in (None, member.contact_person is not None)
        )
