"""(l) Segments of many members: counted as of today and as of a past date, and a snapshot.

On generated members, as many as the workload has; told as seconds for a million. With a million it is
`python -m tests.benchmarks.segments`, which takes minutes to make them.
"""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial

import asyncpg
from customer_status.segments.service import count_segments, take_snapshot
from programme.calendar import day_of
from programme.terms import load_programme

from tests.benchmarks.figures import Figure, Target, plain
from tests.benchmarks.rounds import Plan
from tests.benchmarks.segments import GOAL_S, PAST, TODAY, seconds
from tests.benchmarks.servers import CONTRACTS, Servers
from tests.benchmarks.status import generate_members

MILLION = 1_000_000


async def measure(servers: Servers, plan: Plan) -> Mapping[str, float]:
    """Each once before, so that what it reads is in memory."""
    await generate_members(servers, plan.members)
    programme = load_programme(CONTRACTS / "programme.toml")
    conn = await asyncpg.connect(servers.environment["CUSTOMER_STATUS_DATABASE_URL"])
    try:
        works: dict[str, Callable[[], Awaitable[object]]] = {
            "l": partial(count_segments, conn, programme, day_of(TODAY)),
            "l_past": partial(count_segments, conn, programme, day_of(PAST)),
            "l_snapshot": partial(take_snapshot, conn, programme, day_of(TODAY)),
        }
        samples = {}
        for name, work in works.items():
            for _ in range(2):
                async with conn.transaction():
                    took, _found = await seconds(work)
            samples[name] = took * MILLION / plan.members
    finally:
        await conn.close()
    return samples


FIGURE = Figure(
    "l",
    measured={
        "l": "(l) segments as of today, on generated members, s for a million",
        "l_past": f"(l) segments as of {PAST}, half a year before, s for a million",
        "l_snapshot": "(l) a snapshot in the place of one that there was, s for a million",
    },
    measure=measure,
    targets=(Target("(l) segments of today", plain("l"), GOAL_S, 3, 1, " s for a million", less_is_better=True),),
)
