"""How much memory this command and everything it started uses."""

import psutil


def tree_bytes() -> int:
    """Of this process and all below it; memory that several share is counted once, where the system can tell."""
    here = psutil.Process()
    return sum(_bytes(process) for process in [here, *here.children(recursive=True)])


def _bytes(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.NoSuchProcess:
        return 0
    except (psutil.AccessDenied, AttributeError):
        return _resident(process)


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0
