"""Ports of 127.0.0.1 for servers."""

import contextlib
import random
import socket

from devstack.errors import DevstackError

HOST = "127.0.0.1"
# Below the ports that systems give to outgoing connections (from 32,768 on Linux, 49,152 elsewhere): a client
# that keeps calling a stopped server could be given that very port, connect to itself and so keep it taken.
CANDIDATES = range(20_000, 32_000)
ATTEMPTS = 100


class PortTaken(DevstackError):
    """Somebody else listens there."""


def is_free(port: int) -> bool:
    """Nobody listens on it now."""
    with socket.socket() as probe, contextlib.suppress(OSError):
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((HOST, port))
        return True
    return False


def free_port() -> int:
    """One that is free now. That may change before it is used: be ready to try another."""
    for port in random.SystemRandom().sample(CANDIDATES, ATTEMPTS):
        if is_free(port):
            return port
    raise DevstackError(f"no free port found between {CANDIDATES.start} and {CANDIDATES.stop}")
