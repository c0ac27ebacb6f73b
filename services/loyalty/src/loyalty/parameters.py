"""What calls are made of: identifiers as the contracts spell them, and the parts a request takes from the process."""

import time
from datetime import datetime
from typing import Annotated

from eventing.forgotten import Secret
from fastapi import Depends, Path, Request
from programme.calendar import civil_day
from programme.facts import BUSINESS_ID, MEMBER_ID, PRODUCT_CLASS
from programme.instants import from_datetime
from programme.terms import Programme
from pydantic import AfterValidator, Field, StringConstraints, WithJsonSchema
from webapi.models import Instant

from loyalty.vouchers.service import Vouchers

MemberId = Annotated[
    str, Path(pattern=f"^{MEMBER_ID.pattern}$", description="The member's card number", examples=["M0001234"])
]
MemberIdText = Annotated[
    str, StringConstraints(pattern=f"^{MEMBER_ID.pattern}$"), Field(description="The member's card number")
]
PurchaseId = Annotated[
    str,
    StringConstraints(pattern=f"^{BUSINESS_ID.pattern}$"),
    Field(description="Given by the channel, unique for ever", examples=["webshop-20261122-000184"]),
]
MOST_CLASSES = 1_000
MOST_CENTS = 10**9 - 1
CentsByClass = Annotated[
    dict[
        Annotated[str, StringConstraints(pattern=f"^{PRODUCT_CLASS.pattern}$")],
        Annotated[int, Field(ge=0, le=MOST_CENTS)],
    ],
    Field(min_length=1, max_length=MOST_CLASSES),
    WithJsonSchema(  # pydantic's own lets other names pass, with any value
        {
            "type": "object",
            "description": "What is to be paid, in euro cents by product class",
            "propertyNames": {"pattern": f"^{PRODUCT_CLASS.pattern}$"},
            "additionalProperties": {"type": "integer", "minimum": 0, "maximum": MOST_CENTS},
            "minProperties": 1,
            "maxProperties": MOST_CLASSES,
            "examples": [{"food": 1890, "goods": 1250, "deposit": 50}],
        }
    ),
]


def _in_calendar(value: datetime) -> datetime:
    civil_day(from_datetime(value))  # the calendar ends where events do
    return value


PastInstant = Annotated[Instant, AfterValidator(_in_calendar)]


async def now_us() -> int:
    """The time of this request, microseconds since the epoch. The only clock of the HTTP process."""
    return time.time_ns() // 1000


async def _programme(request: Request) -> Programme:
    programme: Programme = request.app.state.programme
    return programme


async def _vouchers(request: Request) -> Vouchers:
    vouchers: Vouchers = request.app.state.vouchers
    return vouchers


async def _secret(request: Request) -> Secret:
    secret: Secret = request.app.state.secret
    return secret


TheSecret = Annotated[Secret, Depends(_secret)]
TheProgramme = Annotated[Programme, Depends(_programme)]
TheVouchers = Annotated[Vouchers, Depends(_vouchers)]
Now = Annotated[int, Depends(now_us)]
