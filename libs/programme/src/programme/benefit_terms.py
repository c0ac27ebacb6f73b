"""The numbers of offers and contacts: parts of the terms. Those written before there were any have these."""

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec

OfferKind = Literal["discount", "consultation", "event"]
OFFER_KINDS: tuple[OfferKind, ...] = ("discount", "consultation", "event")

_Level = Literal["silver", "gold"]
_Days = Annotated[int, msgspec.Meta(ge=1, le=366)]
_Count = Annotated[int, msgspec.Meta(ge=1, le=1_000)]
_Channel = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9_]{1,32}\Z")]


class OfferTerms(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who may be offered what: the lowest level that an offer of a kind may ask for."""

    least_level: Mapping[OfferKind, _Level] = msgspec.field(
        default_factory=lambda: {"discount": "silver", "consultation": "gold", "event": "gold"}
    )


class ContactTerms(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When the newsletter system is recommended to write to a member, and how often at most."""

    channels: tuple[_Channel, ...] = ("email", "sms", "post", "push")
    most_a_month: _Count = 4
    late_at_most_days: _Days = 14
    lapse_warning_days: tuple[_Days, ...] = (60, 14)
    survey_after_days: _Days = 3
    survey_every_days: _Days = 90
    survey_best_score: _Count = 10
