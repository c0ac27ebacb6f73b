"""Which `generation` makes a timeline newer than every one that was published before."""

import time


def newer(generation: int) -> int:
    """A generation above `generation`, and above those that a lost row or an older backup no longer tells of.

    The minutes since the epoch, which grow whatever happens to the database.
    """
    return max(generation + 1, int(time.time() // 60))
