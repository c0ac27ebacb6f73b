"""(i) Whether verifying a sample all the time slows a worker: the same log, with the samples it takes and without."""

from collections.abc import Mapping

from tests.benchmarks.drain import drain
from tests.benchmarks.figures import Figure, Target, ratio
from tests.benchmarks.prepare import KEPT
from tests.benchmarks.rounds import MICRO, Plan
from tests.benchmarks.servers import Servers

EVERY_S = {"with": "5", "without": "0"}


async def measure(servers: Servers, plan: Plan) -> Mapping[str, float]:
    """One worker, so that nothing else moves; the samples are those that are taken by default."""
    samples = {}
    for name, every_s in EVERY_S.items():
        await servers.reset("loyalty", KEPT["loyalty"])
        drained = (await drain(servers, {"loyalty": 1}, variables={"LOYALTY_WORKER_VERIFY_EVERY_S": every_s}))[
            "loyalty"
        ]
        samples[f"i_{name}"] = drained.rate
        samples[f"i_{name}_cpu"] = drained.worker_cpu_seconds / drained.events * MICRO
    return samples


FIGURE = Figure(
    "i",
    measured={
        "i_with": "(i) as (a) with 1 worker that verifies a sample every 5 s, events/s",
        "i_without": "(i) as (a) with 1 worker that verifies no samples, events/s",
        "i_with_cpu": "(i) processor time of the worker with samples, us an event",
        "i_without_cpu": "(i) processor time of the worker without samples, us an event",
    },
    measure=measure,
    targets=(Target("(i) with samples / without, 1 worker", ratio("i_with", "i_without"), 0.95, 0.99),),
)
