"""What calls are made of: identifiers as the contracts spell them, and the parts a request takes from the process."""

import time
from typing import Annotated

from fastapi import Depends, Path, Request
from programme.facts import MEMBER_ID
from programme.terms import Programme

MemberId = Annotated[str, Path(pattern=f"^{MEMBER_ID.pattern}$", description="The member's card number")]


def now_us() -> int:
    """The time of this request, microseconds since the epoch. The only clock of the HTTP process."""
    return time.time_ns() // 1000


def _programme(request: Request) -> Programme:
    programme: Programme = request.app.state.programme
    return programme


TheProgramme = Annotated[Programme, Depends(_programme)]
Now = Annotated[int, Depends(now_us)]
