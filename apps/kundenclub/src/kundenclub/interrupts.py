"""Ctrl-C, SIGTERM and a closed terminal all end a command in one way: everything is unwound once, in order.

The first signal is taken, later ones are ignored: unwinding is bounded in time, and a second Ctrl-C in the middle of
it would leave a server running.
"""

import asyncio
import signal
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

T = TypeVar("T")


@contextmanager
def stop_signals_interrupt() -> Iterator[None]:
    """Inside, the first of STOP_SIGNALS raises KeyboardInterrupt; the rest is ignored to the end of the process."""
    before = {number: signal.signal(number, _interrupt) for number in _heeded()}
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            for number, handler in before.items():
                signal.signal(number, handler)


def run(main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run` whose main task is cancelled by the first of STOP_SIGNALS; then raises KeyboardInterrupt.

    For use inside `stop_signals_interrupt`.
    """
    interrupted = False

    async def interruptible() -> T:
        nonlocal interrupted
        task = asyncio.current_task()
        assert task is not None

        def stop() -> None:
            nonlocal interrupted
            if not interrupted:
                interrupted = True
                task.cancel()

        loop = asyncio.get_running_loop()
        for number in _heeded():
            loop.add_signal_handler(number, stop)
        try:
            return await main
        finally:
            # The loop would put the default handlers back when it closes, and they end the process on the spot.
            for number in _heeded():
                loop.remove_signal_handler(number)
                signal.signal(number, signal.SIG_IGN if interrupted else _interrupt)

    try:
        result = asyncio.run(interruptible())
    except asyncio.CancelledError:
        if not interrupted:
            raise
    if interrupted:
        raise KeyboardInterrupt
    return result


def _heeded() -> list[signal.Signals]:
    """All of them, but under nohup a closed terminal is to be ignored."""
    is_nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [number for number in STOP_SIGNALS if not (is_nohup and number is signal.SIGHUP)]


def _interrupt(number: int, frame: FrameType | None) -> None:
    for each in STOP_SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt
