"""The event loop of a process that works on batches."""

import gc
from collections.abc import Coroutine
from typing import Any, TypeVar

import uvloop

R = TypeVar("R")


def run_batches(work: Coroutine[Any, Any, R]) -> R:
    """The result of `work`.

    A batch is many thousands of small objects that live until its commit. Collecting after every 700 of them, as Python
    does, costs a third; the more have to come together, the fewer collections fall into posting.
    """
    gc.freeze()
    gc.set_threshold(200_000, 20, 50)
    return uvloop.run(work)
