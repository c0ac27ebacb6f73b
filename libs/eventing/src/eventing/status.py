"""Whether this process is ready, and what it waits for if not."""

import time
from dataclasses import dataclass, field
from typing import Final

import structlog

log = structlog.get_logger(__name__)

_REPEAT_S: Final = 30.0


@dataclass
class Status:
    """Ready when nothing is waited for. What is waited for is logged at once, then every half minute."""

    _waiting: dict[str, str] = field(default_factory=dict)
    _said: dict[str, tuple[str, float]] = field(default_factory=dict)

    def waiting_for(self, what: str, detail: str) -> None:
        """Notes that nothing goes on until `what` is there."""
        self._waiting[what] = detail
        said, at = self._said.get(what, ("", 0.0))
        now = time.monotonic()
        if said != detail or now - at > _REPEAT_S:
            self._said[what] = (detail, now)
            log.warning("waiting_for", what=what, detail=detail)

    def ready(self, what: str) -> None:
        """Notes that `what` is there."""
        if self._waiting.pop(what, None) is not None:
            self._said.pop(what, None)
            log.info("no_longer_waiting_for", what=what)

    @property
    def waiting(self) -> dict[str, str]:
        """What is waited for and why; empty when ready."""
        return dict(self._waiting)
