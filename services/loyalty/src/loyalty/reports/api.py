"""Reports of the programme as a whole over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Query
from programme.instants import from_datetime
from webapi.auth import Caller, require
from webapi.database import RequestSnapshot

from loyalty.parameters import Now, PastInstant, TheProgramme
from loyalty.reports.service import liability
from loyalty.reports.views import LiabilityView, liability_view

router = APIRouter(tags=["reports"])


@router.get("/v1/reports/liability")
async def report_liability(
    snapshot: RequestSnapshot,
    programme: TheProgramme,
    now: Now,
    caller: Annotated[Caller, require("operations:read")],
    at: Annotated[PastInstant | None, Query(description="As of then: what had happened up to this instant")] = None,
) -> LiabilityView:
    """Outstanding points and open vouchers, reconciled to the ledger.

    Points with their value by expiry and level, nameless accounts included, and how they follow from the entries.
    With `at` it is computed from every purchase there is, which takes long: `loyalty liability` does the same.
    """
    return liability_view(await liability(snapshot, programme, None if at is None else from_datetime(at), now))
