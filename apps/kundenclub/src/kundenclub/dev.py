"""`kundenclub dev`: the whole system on fixed local ports until Ctrl-C."""

import asyncio
from pathlib import Path

from rich.console import Console

from kundenclub.environment import DEV_PORTS, Ports
from kundenclub.interrupts import run, stop_signals_interrupt
from kundenclub.processes import Processes
from kundenclub.stack import Stack, only_one, stack

FOLDER = Path(".dev")


def dev(*, contracts: Path, keep: bool, console: Console, folder: Path = FOLDER, ports: Ports = DEV_PORTS) -> None:
    """Run until a signal; then everything is stopped. Raises what `stack` and `Processes` raise."""

    def say(text: str) -> None:
        console.print(text, highlight=False, soft_wrap=True)

    with stop_signals_interrupt():
        try:
            ports.check_free()
            with only_one(folder), stack(folder, contracts=contracts, ports=ports, keep=keep, say=say) as running:
                run(_serve(running, console))
        except KeyboardInterrupt:
            say("stopped")


async def _serve(running: Stack, console: Console) -> None:
    def say(text: str) -> None:
        console.print(text, highlight=False, soft_wrap=True)

    say("starting loyalty and customer-status")
    async with Processes(running.programs, running.environment, running.logs, say):
        for line in _where_everything_is(running):
            say(line)
        await asyncio.Event().wait()


def _where_everything_is(running: Stack) -> list[str]:
    values = running.environment
    return [
        "",
        "Kunden-Club runs. Ctrl-C ends it.",
        f"  loyalty          {values['LOYALTY_URL']}   (docs: {values['LOYALTY_URL']}/docs)",
        f"  customer-status  {values['CUSTOMER_STATUS_URL']}   (docs: {values['CUSTOMER_STATUS_URL']}/docs)",
        f"  Kafka            {values['KAFKA_BOOTSTRAP_SERVERS']}",
        f"  API key          {values['API_KEY']}",
        f"  logs             {running.logs}/",
        f"  variables        set -a; . {running.logs.parent}/env; set +a",
        "  try              uv run kundenclub publish FILE; uv run loyalty state; uv run customer-status state",
        "",
    ]
