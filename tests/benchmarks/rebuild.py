"""`loyalty rebuild`: positions computed again from the beginning of the log, by the wall clock of the command."""

import time

from tests.benchmarks.processes import run_command
from tests.benchmarks.servers import Servers


async def rebuild_rate(servers: Servers) -> float:
    """Events a second, all of the log. Raises ProcessFailed, also if it finds a difference."""
    began = time.perf_counter()
    await run_command(servers.environment, "loyalty", "rebuild")
    return await servers.purchases_end() / (time.perf_counter() - began)
