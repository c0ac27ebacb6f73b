"""`loyalty rebuild`: positions computed again from the beginning of the log, by the wall clock of the command."""

import asyncio
import os
import time

from devstack import launch_command
from kundenclub.processes import script_path

from tests.benchmarks.processes import run_command
from tests.benchmarks.servers import Servers


async def is_there(servers: Servers) -> bool:
    """Whether this version of loyalty has the command."""
    asking = await asyncio.create_subprocess_exec(
        *launch_command([script_path("loyalty"), "rebuild", "--help"]),
        env={**os.environ, **servers.environment},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    return await asking.wait() == 0


async def rebuild_rate(servers: Servers) -> float:
    """Events a second, all of the log. Raises ProcessFailed, also if it finds a difference."""
    began = time.perf_counter()
    await run_command(servers.environment, "loyalty", "rebuild")
    return await servers.purchases_end() / (time.perf_counter() - began)
