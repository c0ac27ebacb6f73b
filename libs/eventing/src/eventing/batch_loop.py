"""The event loop of a process that works on batches."""

import gc
from collections.abc import Coroutine
from typing import Any, TypeVar

import uvloop

R = TypeVar("R")


def run_batches(work: Coroutine[Any, Any, R]) -> R:
    """The result of `work`.

    A batch is many thousands of small objects that live until its commit. Collecting after every 700 of them, as Python
    does, costs a third; with this, a batch that is carried out while the next one is fetched causes no collection.
    """
    gc.freeze()
    gc.set_threshold(200_000, 20, 50)
    return uvloop.run(work)
