"""pgbench on a service's database: prepared statements, 16 clients."""

import asyncio
import os
import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from devstack.databases import program
from kundenclub.processes import ProcessFailed

from tests.benchmarks.servers import Servers, database_of

CLIENTS = 16
_FOUND = re.compile(r"^number of transactions actually processed: (\d+).*^tps = ([\d.]+)", re.MULTILINE | re.DOTALL)


class Transactions(NamedTuple):
    """How many there were, and how many a second once all clients were connected."""

    done: int
    rate: float


async def run_pgbench(
    servers: Servers, service: str, script: str, seconds: int, variables: Mapping[str, int]
) -> Transactions:
    """Run `script` again and again for so long. Raises ProcessFailed."""
    database = database_of(service)
    address = urlsplit(servers.cluster.url(database))
    defined = [part for name, value in variables.items() for part in ("-D", f"{name}={value}")]
    process = await asyncio.create_subprocess_exec(
        program("pgbench"),
        *("-n", "-M", "prepared", "-c", str(CLIENTS), "-j", "2", "-T", str(seconds)),
        *(*defined, "-f", "-"),
        *("-h", str(address.hostname), "-p", str(address.port), "-U", str(address.username), database),
        env=os.environ | {"PGPASSWORD": unquote(address.password or "")},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate(script.encode())
    found = _FOUND.search(output.decode())
    if process.returncode != 0 or found is None:
        raise ProcessFailed(f"pgbench failed:\n{(errors + output).decode(errors='replace')}")
    return Transactions(int(found[1]), float(found[2]))
